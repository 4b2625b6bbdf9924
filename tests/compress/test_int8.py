"""Networks in int8: near the full ones, made of the same bytes, refused in a sentence."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.variants import convolutions
from vprlib.compress import int8
from vprlib.model import lite0
from vprlib.model.backbones import fill_at_random
from vprlib.model.model import Architecture, PlaceModel
from vprlib.model.onnx import export
from vprlib.model.onnx.network import OnnxNetwork
from vprlib.model.settings import PoolSettings
from vprlib.pipeline.params import UserError

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
ort = pytest.importorskip("onnxruntime")


def small(whitening: int | None = None) -> PlaceModel:
    """Stem, a depthwise layer of each kind and an expansion: all that lite0 consists of."""
    given = (lite0.NAME, "expand1_1", PoolSettings(), 4, whitening, lite0.MEAN, lite0.STD)
    torch.manual_seed(1)
    model = PlaceModel(Architecture(*given))
    fill_at_random(model.backbone, 1)
    nn.init.normal_(model.netvlad.centroids)
    return model


def images(seed: int = 1) -> Iterator[np.ndarray]:
    """Two batches of different sizes: slow changes with noise, as in photographs."""
    draw = np.random.default_rng(seed)
    for count, height, width in ((3, 64, 80), (2, 51, 66)):
        ramp = np.linspace(0, 160, width)[:, None] * draw.uniform(0.5, 1.5, (count, height, 1, 3))
        noise = draw.integers(0, 40, (count, height, width, 3))
        yield (ramp + noise).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def made() -> tuple[PlaceModel, OnnxNetwork]:
    model = small()
    return model, int8.quantised(model, images, 1)


@torch.no_grad()
def cosines(model: PlaceModel, network: OnnxNetwork) -> torch.Tensor:
    found = [(model(x) * network(x)).sum(dim=1) for x in map(torch.from_numpy, images(2))]
    return torch.cat(found)


def test_descriptors_stay_near_those_of_the_full_network(made) -> None:
    assert cosines(*made).min() > 0.98


def test_every_convolution_computes_in_int8(made) -> None:
    assert convolutions(made[1].content) == "7 of 7 convolutions in int8"


def test_the_same_images_give_the_same_file_and_leave_no_other(
    made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    model, network = made
    assert int8.quantised(model, images, 1).content == network.content
    assert not list(tmp_path.iterdir())


def test_it_names_nothing_of_this_machine_and_holds_equal_tensors_once(made) -> None:
    proto = onnx.load_from_string(made[1].content)
    content = [(t.data_type, *t.dims, t.raw_data) for t in proto.graph.initializer if t.raw_data]
    assert len(set(content)) == len(content)
    assert not any(n.doc_string or n.metadata_props for n in proto.graph.node)
    assert max(len(name) for node in proto.graph.node for name in node.input) <= 10


def test_images_come_one_at_a_time() -> None:
    shapes = [given["pixels"].shape for given in int8._inputs(images)]
    assert shapes == 3 * [(1, 64, 80, 3)] + 2 * [(1, 51, 66, 3)]


@pytest.mark.parametrize(("kernel", "groups", "bias"), [(1, 1, True), (1, 2, False), (3, 4, True)])
def test_rounding_weights_moves_no_channel_on_average(kernel: int, groups: int, bias: bool) -> None:
    """Exactly without margins, of maps that are alike everywhere."""
    draw = np.random.default_rng(1)
    weight = draw.normal(size=(8, 4 // groups, kernel, kernel)).astype(np.float32)
    tensors = {"w": weight} | ({"b": draw.normal(size=8).astype(np.float32)} if bias else {})
    node = onnx.helper.make_node("Conv", ["pixels", *tensors], ["y"], "conv", group=groups)
    shape = (onnx.TensorProto.FLOAT, None)
    graph = onnx.helper.make_graph(
        [node],
        "one",
        [onnx.helper.make_tensor_value_info("pixels", *shape)],
        [onnx.helper.make_tensor_value_info("y", *shape)],
        [onnx.numpy_helper.from_array(values, name) for name, values in tensors.items()],
    )
    opset = [onnx.helper.make_opsetid("", 18)]
    proto = onnx.helper.make_model(graph, opset_imports=opset, ir_version=9)
    x = np.broadcast_to(draw.uniform(0, 6, (3, 4, 1, 1)), (3, 4, 6, 5)).astype(np.float32)

    def mean() -> np.ndarray:
        session = ort.InferenceSession(export.as_bytes(proto))
        return session.run(None, {"pixels": x})[0].mean(axis=(0, 2, 3))

    before = mean()
    means = int8._mean_inputs(proto, graph.node, lambda: [x], 1)
    np.testing.assert_allclose(means["pixels"], x.mean(axis=(0, 2, 3)), rtol=1e-6)
    int8._round_weights(proto.graph, list(proto.graph.node), means)
    tensors = {t.name: onnx.numpy_helper.to_array(t) for t in proto.graph.initializer}
    steps = tensors["w"] / (np.abs(weight).max(axis=(1, 2, 3), keepdims=True) / 127)
    np.testing.assert_allclose(steps, steps.round(), atol=1e-3)
    assert np.abs(tensors["w"] - weight).max() > 1e-3
    np.testing.assert_allclose(mean(), before, atol=1e-5)


def test_the_networks_own_whitening_lies_in_int8_too() -> None:
    model = small(whitening=300)
    network = int8.quantised(model, images, 1)
    assert network.dim == 300 and cosines(model, network).min() > 0.95
    assert len(network.content) < 1.3 * model.whitening.weight.numel()


def test_a_layer_that_is_no_convolution_is_refused() -> None:
    model = small()
    int8.check_quantisable(model)
    model.backbone.append(nn.Linear(3, 3))
    with pytest.raises(UserError, match=r"efficientnet_lite0 cannot compute in int8: it has a Lin"):
        int8.check_quantisable(model)


def test_what_is_not_installed_is_said_before_anything_runs(monkeypatch) -> None:
    monkeypatch.setattr(export.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs onnx: run `pip install -e '.\[onnx\]'`"):
        int8.check_quantisable(small())
