"""The MATLAB struct against a direct evaluation of its formulas, and back."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from twins import VGG16, chain

from vprlib.interop.matlab_read import read_struct
from vprlib.interop.matlab_write import write_struct
from vprlib.interop.networks import describe, read_network
from vprlib.model.model import Architecture, PlaceModel
from vprlib.model.settings import PoolSettings
from vprlib.pipeline.params import UserError

THIN = tuple(width // 32 for width in VGG16)
AVERAGE = (123.68, 116.779, 103.939)
CLUSTERS, DIMS = 4, 6


@pytest.fixture
def thin(monkeypatch: pytest.MonkeyPatch) -> tuple[int, ...]:
    """VGG16's layers at a 32nd of their widths."""
    monkeypatch.setattr("vprlib.model.backbones.empty_backbone", lambda *_: chain(THIN).eval())
    monkeypatch.setattr("vprlib.model.backbones.channels", lambda *_: THIN[-1])
    return THIN


def layers_of(widths: tuple[int, ...], is_whitened: bool) -> list[dict[str, object]]:
    """The layers as MATLAB has them: [h, w, in, out], D × K, centres negated, k fastest."""
    draw = np.random.default_rng(1)
    layers, before, number = [], 3, 0
    for out in widths:
        number += 1
        if not out:
            layers.append({"type": "pool", "name": f"pool{number}"})
            continue
        scale = (2 / (9 * before)) ** 0.5 / (60 if before == 3 else 1)
        weights = scale * draw.normal(size=(3, 3, before, out))
        layers.append(layer("conv", f"conv{number}", weights, 0.1 * draw.normal(size=(1, out))))
        layers.append({"type": "relu", "name": f"relu{number}"})
        before = out
    layers[-1] = {"type": "normalize", "name": "preL2"}
    assignment = 9 * draw.normal(size=(before, CLUSTERS))
    centres = -draw.normal(size=(before, CLUSTERS)) / before**0.5
    layers.append(layer("custom", "vlad:core", assignment, centres))
    layers.append({"type": "normalize", "name": "vlad:intranorm"})
    layers.append({"type": "custom", "name": "postL2"})
    if is_whitened:
        weights = draw.normal(size=(1, 1, before * CLUSTERS, DIMS))
        layers.append(layer("conv", "WPCA", weights, draw.normal(size=(1, DIMS))))
        layers.append({"type": "custom", "name": "WPCA:L2"})
    return layers


def layer(kind: str, name: str, *weights: np.ndarray) -> dict[str, object]:
    return {"type": kind, "name": name, "weights": cell([w.astype(np.float32) for w in weights])}


def cell(values: list) -> np.ndarray:
    made = np.empty((1, len(values)), dtype=object)
    for place, value in enumerate(values):
        made[0, place] = value
    return made


def save(path: Path, layers: object, average: object = AVERAGE) -> Path:
    image = np.asarray(average, np.float32)
    image = image.reshape(1, 1, 3) if image.ndim == 1 else image
    net = {"layers": layers, "meta": {"normalization": {"averageImage": image}}}
    scipy.io.savemat(path, {"net": net})
    return path


def pixels() -> Tensor:
    values = np.random.default_rng(2).integers(0, 256, (2, 64, 80, 3), dtype=np.uint8)
    return torch.from_numpy(values)


def evaluated(layers: list[dict[str, object]], average: object = AVERAGE) -> np.ndarray:
    """REFERENCE §7 to the letter, in float64, its vector dim-major with k running fastest."""
    x = (pixels().double() - torch.tensor(average, dtype=torch.float64)).permute(0, 3, 1, 2)
    whitening = None
    for found in layers:
        weights = [torch.from_numpy(w).double() for w in found.get("weights", cell([]))[0]]
        if found["name"] == "WPCA":
            whitening = weights[0][0, 0].numpy(), weights[1].numpy()
        elif found["name"] == "vlad:core":
            x = vlad(x, *weights)
        elif found["type"] == "conv":
            x = F.conv2d(x, weights[0].permute(3, 2, 0, 1), weights[1][0], padding=1)
        elif found["type"] == "relu":
            x = x.relu()
        elif found["type"] == "pool":
            x = F.max_pool2d(x, 2, 2)
    vectors = x.numpy()
    if whitening is not None:
        vectors = vectors @ whitening[0] + whitening[1]
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def vlad(features: Tensor, assignment: Tensor, centres: Tensor) -> Tensor:
    vectors = []
    for image in features:  # D H W
        x = image.flatten(1)
        x = x / x.norm(dim=0, keepdim=True)
        soft = (assignment.T @ x).softmax(dim=0)  # K N
        columns = [((x + centres[:, k : k + 1]) * soft[k]).sum(dim=1) for k in range(CLUSTERS)]
        matrix = torch.stack([c / c.norm() for c in columns], dim=1)  # D K
        vectors.append(matrix.flatten() / matrix.norm())
    return torch.stack(vectors)


@torch.no_grad()
def described(model: PlaceModel) -> np.ndarray:
    return model(pixels()).numpy()


def assert_as_formulas(
    path: Path, widths: tuple[int, ...], is_whitened: bool
) -> tuple[PlaceModel, np.ndarray]:
    """Gives the network that was read, and its descriptors."""
    layers = layers_of(widths, is_whitened)
    model, wanted = read_struct(save(path, cell(layers))), evaluated(layers)
    if not is_whitened:  # ours are cluster-major
        wanted = wanted.reshape(2, -1, CLUSTERS).transpose(0, 2, 1).reshape(2, -1)
    found = described(model)
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    return model, found


@pytest.mark.parametrize("is_whitened", [True, False])
def test_the_true_vgg16_gives_what_the_formulas_give(tmp_path: Path, is_whitened: bool) -> None:
    model, found = assert_as_formulas(tmp_path / "net.mat", VGG16, is_whitened)
    assert model.dim == found.shape[1] == (DIMS if is_whitened else CLUSTERS * 512)


@pytest.mark.parametrize("is_whitened", [True, False])
def test_a_thin_network_gives_what_the_formulas_give(
    tmp_path: Path, thin: tuple[int, ...], is_whitened: bool
) -> None:
    _, found = assert_as_formulas(tmp_path / "net.mat", thin, is_whitened)
    assert np.abs(found[0] - found[1]).max() > 1e-3  # sees the images


def test_the_original_has_its_net_vlad_layer_at_30_and_its_whitening_at_33() -> None:
    names = [found["name"] for found in layers_of(THIN, True)]
    assert (names.index("vlad:core"), names.index("WPCA")) == (30, 33)


def test_layers_in_one_struct_array_are_read_as_those_in_a_cell(
    tmp_path: Path, thin: tuple[int, ...]
) -> None:
    layers = layers_of(thin, True)
    array = np.empty((1, len(layers)), dtype=[(n, object) for n in ("type", "name", "weights")])
    for place, found in enumerate(layers):
        array[0, place] = (found["type"], found["name"], found.get("weights", np.empty((0, 0))))
    one, other = (
        read_struct(save(tmp_path / name, values))
        for name, values in (("cell.mat", cell(layers)), ("array.mat", array))
    )
    assert same_weights(one, other)


def test_matrices_with_two_axes_of_one_in_front_are_the_same(
    tmp_path: Path, thin: tuple[int, ...]
) -> None:
    layers = layers_of(thin, True)
    plain = read_struct(save(tmp_path / "a.mat", cell(layers)))
    layers[30] = layer("custom", "vlad:core", *(w[None, None] for w in layers[30]["weights"][0]))
    assert same_weights(plain, read_struct(save(tmp_path / "b.mat", cell(layers))))


def test_a_whole_mean_picture_counts_by_its_mean_colour(
    tmp_path: Path, thin: tuple[int, ...]
) -> None:
    picture = np.stack([np.full((4, 5), value) for value in AVERAGE], axis=2)
    picture[:2] += 8
    picture[2:] -= 8
    model = read_struct(save(tmp_path / "net.mat", cell(layers_of(thin, False)), picture))
    assert np.allclose(model.architecture.mean, np.array(AVERAGE) / 255, atol=1e-6)
    assert model.architecture.std == pytest.approx((1 / 255,) * 3)


def test_a_network_without_these_normalisations_is_read_as_one(
    tmp_path: Path, thin: tuple[int, ...]
) -> None:
    layers = layers_of(thin, True)
    kept = [found for found in layers if found["name"] not in ("preL2", "vlad:intranorm")]
    pool = read_struct(save(tmp_path / "net.mat", cell(kept))).architecture.pool
    assert (pool.normalise_input, pool.intra_normalise) == (False, False)


def same_weights(one: PlaceModel, other: PlaceModel) -> bool:
    states = one.state_dict(), other.state_dict()
    return states[0].keys() == states[1].keys() and all(
        tensor.numpy().tobytes() == states[1][name].numpy().tobytes()
        for name, tensor in states[0].items()
    )


@pytest.mark.parametrize("is_whitened", [True, False])
def test_export_then_import_gives_the_same_weights_byte_for_byte(
    tmp_path: Path, thin: tuple[int, ...], is_whitened: bool
) -> None:
    first = read_struct(save(tmp_path / "net.mat", cell(layers_of(thin, is_whitened))))
    write_struct(tmp_path / "again.mat", first)
    again = read_struct(tmp_path / "again.mat")
    assert again.architecture == first.architecture
    assert same_weights(first, again)
    write_struct(tmp_path / "twice.mat", again)
    assert (tmp_path / "twice.mat").read_bytes() == (tmp_path / "again.mat").read_bytes()


def test_an_export_stands_where_others_look_for_it(tmp_path: Path, thin: tuple[int, ...]) -> None:
    layers = layers_of(thin, True)
    write_struct(tmp_path / "a.mat", read_struct(save(tmp_path / "net.mat", cell(layers))))
    found = scipy.io.loadmat(tmp_path / "a.mat", struct_as_record=False, squeeze_me=True)["net"]
    kinds = [written.type for written in found.layers]
    assert kinds == [given["type"] for given in layers]
    for place in (0, 28, 30, 33):
        for got, wanted in zip(
            found.layers[place].weights, layers[place]["weights"][0], strict=True
        ):
            np.testing.assert_array_equal(got, wanted.squeeze())
    assert found.meta.normalization.averageImage == pytest.approx(AVERAGE)
    assert (found.layers[0].pad, found.layers[33].pad) == (pytest.approx(1), pytest.approx(0))


def test_a_model_of_ours_gives_the_same_descriptors_from_matlabs_grey_levels(
    tmp_path: Path, thin: tuple[int, ...]
) -> None:
    torch.manual_seed(3)
    ours = PlaceModel(Architecture("vgg16", "conv5_3", PoolSettings(), CLUSTERS))
    nn.init.normal_(ours.pool.centroids, std=0.1)
    write_struct(tmp_path / "a.mat", ours)
    again = read_struct(tmp_path / "a.mat")
    assert again.architecture.std == (1 / 255,) * 3
    np.testing.assert_allclose(described(again), described(ours), atol=1e-5)


def broken(layers: list[dict[str, object]]) -> Iterator[tuple[list[dict[str, object]], str]]:
    yield layers[:30], "has no NetVLAD layer .two matrices of the same shape"
    yield layers[2:], "has 12 convolutions before its NetVLAD layer, but VGG16 has 13"
    conv_free = [found for found in layers[:28] if found["type"] == "conv"]
    yield conv_free[:5] + layers[29:], "has 5 convolutions, like Caffe's AlexNet, whose grouped"
    relu = {"type": "relu", "name": "relu5_3"}
    yield [*layers[:29], relu, *layers[29:]], "has a relu between its last convolution and its Net"
    yield [*layers, layers[33]], r"has 2 layers with weights after its NetVLAD layer \(layer 34"
    short = layer("conv", "WPCA", np.ones((1, 1, 10, 2)), np.ones((1, 2)))
    yield [*layers[:33], short], r"the whitening layer 34 \(WPCA\) is \[1, 1, 10, 2\], but .* = 64"
    wide = layer("conv", "conv2", np.ones((3, 3, 7, 2)), np.ones((1, 2)))
    yield [*layers[:2], wide, *layers[3:]], r"layer 3 \(conv2\)'s weights is \[2, 7, 3, 3\] instead"
    bare = layer("conv", "conv2", np.ones((3, 3, 2, 2)))
    yield [*layers[:2], bare, *layers[3:]], r"layer 3 \(conv2\)'s bias is \[0\] instead of \[2\]"


@pytest.mark.parametrize("case", range(8))
def test_a_network_that_is_not_this_one_is_told(
    tmp_path: Path, thin: tuple[int, ...], case: int
) -> None:
    layers, problem = list(broken(layers_of(thin, True)))[case]
    with pytest.raises(UserError, match=problem):
        read_struct(save(tmp_path / "net.mat", cell(layers)))


def test_a_mean_without_three_colours_is_told(tmp_path: Path, thin: tuple[int, ...]) -> None:
    path = save(tmp_path / "net.mat", cell(layers_of(thin, False)), np.ones((2, 2, 1)))
    with pytest.raises(UserError, match=r"averageImage should have three colours, but has the sh"):
        read_struct(path)


def test_other_variables_and_other_versions_are_told(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "a.mat", {"clsts": np.ones((2, 3)), "x": 1})
    with pytest.raises(
        UserError, match="should hold a network as a struct 'net', but holds clsts, x"
    ):
        read_network(tmp_path / "a.mat")
    raw = bytearray((tmp_path / "a.mat").read_bytes())
    raw[124:126] = b"\x00\x02"  # version 7.3
    (tmp_path / "b.mat").write_bytes(raw)
    with pytest.raises(UserError, match=r"b\.mat is a MATLAB 7\.3 file, .* `-v7` in MATLAB"):
        read_network(tmp_path / "b.mat")
    (tmp_path / "c.mat").write_bytes(bytes(raw[:124]) + b"\x00\x01IM" + raw[128:150])
    with pytest.raises(UserError, match=r"c\.mat cannot be read as a \.mat file"):
        read_network(tmp_path / "c.mat")


@pytest.mark.parametrize(
    ("architecture", "problem"),
    [
        (Architecture("alexnet", "conv5", PoolSettings(), 4), "the backbone alexnet cut at conv5"),
        (Architecture("vgg16", "conv5_3", PoolSettings(kind="max")), "the pool max"),
        (Architecture("vgg16", "conv5_3", PoolSettings(version="v2"), 4), "NetVLAD v2, since"),
    ],
)
def test_what_the_struct_cannot_hold_is_refused(
    tmp_path: Path, thin: tuple[int, ...], architecture: Architecture, problem: str
) -> None:
    with pytest.raises(UserError, match=f"the MATLAB network cannot hold {problem}"):
        write_struct(tmp_path / "a.mat", PlaceModel(architecture))
    assert not list(tmp_path.iterdir())


def test_what_was_found_is_said_in_a_line(tmp_path: Path, thin: tuple[int, ...]) -> None:
    path = save(tmp_path / "net.mat", cell(layers_of(thin, True)))
    assert describe(read_network(path)) == (
        "network of the MATLAB original: vgg16 (conv5_3), NetVLAD v1, K 4, whitening to 6,"
        " 6 dimensions"
    )
