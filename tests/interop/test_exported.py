"""What an exported file says of itself, and when it is refused; the plain layers behind it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from vprlib.cli.model.export import summary
from vprlib.compress.pruning import by_magnitude, sparsify, without_channels
from vprlib.descriptors import matrix
from vprlib.descriptors.codes import Code
from vprlib.images.decode import ImageSettings
from vprlib.interop.onnx_export import Plain, check, check_exportable
from vprlib.interop.onnx_run import Exported, digest, identity
from vprlib.model.model import Architecture, PlaceModel, read_model, write_model
from vprlib.model.packing import PLAIN, Form
from vprlib.model.settings import PoolSettings
from vprlib.pipeline.params import UserError


@pytest.mark.parametrize("numbers", ["float32", "float16", "int8"])
@pytest.mark.parametrize("rank", [None, 3])
@pytest.mark.parametrize("own", [None, 24])
def test_the_plain_network_gives_what_network_and_code_give(
    slim: str, numbers: str, rank: int | None, own: int | None
) -> None:
    model = PlaceModel(Architecture(slim, "conv5", PoolSettings(), 3, whitening=own))
    draw = np.random.default_rng(1)
    dim = model.dim if rank is None else model.dim // 8 * rank
    channels = None if rank is None else draw.normal(size=(rank, 8)).astype(np.float32)
    small = matrix.Matrix(draw.normal(size=(7, dim)).astype(np.float32), channels)
    mean = 0.1 * draw.normal(size=model.dim).astype(np.float32)
    arrays = {"mean": mean} | matrix.to_arrays(small, numbers)
    pixels = torch.from_numpy(draw.integers(0, 256, (2, 64, 80, 3), dtype=np.uint8))
    with torch.no_grad():
        found, described = Plain(model, arrays)(pixels).numpy(), model(pixels).numpy()
        alone = Plain(model, {})(pixels).numpy()
    expected = Code("float32", mean, matrix.from_arrays(arrays)).apply(described)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(alone, described, atol=1e-6)


def test_another_model_code_or_way_to_take_images_is_told(tmp_path: Path) -> None:
    for name in ("model", "coder"):
        (tmp_path / name).write_text(name)
    files = {"variant": "trained", "code": "w8", "images": ImageSettings(resize=480)}
    paths = {f"{name}_path": tmp_path / name for name in ("model", "coder")}
    told = identity(**files, **paths)
    assert told.differences(identity(**files, **paths)) == []
    swapped = {"model_path": tmp_path / "coder", "coder_path": tmp_path / "model"}
    other = identity(**files | {"variant": "slim", "code": "full"}, **swapped)
    assert told.differences(other) == ["is of variant trained, not slim", "gives code w8, not full"]
    other = identity(**files | {"images": ImageSettings(resize=(64, 48))}, **paths)
    assert "as {'exif_rotate': True, 'resize': 480}, but the" in told.differences(other)[0]
    assert "set's are {'exif_rotate': True, 'resize': [64, 48]}" in told.differences(other)[0]
    (tmp_path / "model").write_text("retrained")
    assert "another trained network" in told.differences(identity(**files, **paths))[0]
    (tmp_path / "coder").write_text("refitted")
    assert "another code w8" in told.differences(identity(**files, **paths))[1]
    assert json.loads(told.as_json())["format"] == "vprlib onnx 1"


def test_a_digest_is_of_the_content(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 3_000_000)
    (tmp_path / "b").write_bytes(b"x" * 3_000_000)
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    (tmp_path / "b").write_bytes(b"x" * 2_999_999 + b"y")
    assert digest(tmp_path / "a") != digest(tmp_path / "b")


def images() -> list[torch.Tensor]:
    values = np.random.default_rng(1).integers(0, 256, (2, 64, 80, 3), dtype=np.uint8)
    return [torch.from_numpy(values)]


def test_what_computes_in_bfloat16_is_refused(slim: str) -> None:
    model = PlaceModel(Architecture(slim, "conv5", PoolSettings(), 3))
    check_exportable(model, Path("m"))
    half = PlaceModel(replace(model.architecture, precision="bfloat16"))
    said = "^m is a network that computes in bfloat16, but an export computes in float32: "
    with pytest.raises(UserError, match=said):
        check_exportable(half, Path("m"))


@pytest.mark.parametrize("form", [PLAIN, Form(leaves_out_zeros=True), Form("float16")])
def test_what_lost_channels_weights_or_digits_is_plain_all_the_same(
    tmp_path: Path, slim: str, form: Form
) -> None:
    torch.manual_seed(1)
    model = PlaceModel(Architecture(slim, "conv5", PoolSettings(), 3))
    torch.nn.init.uniform_(model.pool.centroids)
    narrow = sparsify(without_channels(model, 0.3, by_magnitude(model)), 0.5)
    write_model(tmp_path / "m", narrow, {}, form)
    found = read_model(tmp_path / "m")
    check_exportable(found, tmp_path / "m")
    with torch.no_grad():
        plain, expected = Plain(found, {})(images()[0]), found(images()[0])
    assert found.dim < model.dim and summary(found).startswith(
        "alexnet to conv5 with fewer channels"
    )
    torch.testing.assert_close(plain, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("found", [1.1e-4, float("nan")])
def test_an_export_that_is_off_is_refused(tmp_path: Path, found: float) -> None:
    check(9e-5, 16, tmp_path / "x.onnx")
    with pytest.raises(
        UserError, match=r"differs from the pipeline by .* on 16 images, but at most 1e-04 is"
    ):
        check(found, 16, tmp_path / "x.onnx")


def test_what_is_no_export_is_refused(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    (tmp_path / "x.onnx").write_text("no network")
    with pytest.raises(UserError, match=r"x\.onnx is not a network \(.*\): export it again\."):
        Exported(tmp_path / "x.onnx", 1)
    values = [onnx.helper.make_tensor_value_info(name, 1, [1]) for name in ("pixels", "descriptor")]
    node = onnx.helper.make_node("Identity", ["pixels"], ["descriptor"])
    graph = onnx.helper.make_graph([node], "g", values[:1], values[1:])
    opset = onnx.helper.make_opsetid("", 18)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8), tmp_path / "y")
    with pytest.raises(UserError, match=r"y is not a 'vprlib onnx 1' file: export it again\."):
        Exported(tmp_path / "y", 1)
