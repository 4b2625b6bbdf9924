"""Reads the official MATLAB NetVLAD from a struct file such as `Pitts30K_struct.mat`.

VGG16 only: the original's other backbone is Caffe's AlexNet with grouped convolutions, unlike
torchvision's.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vprlib.formats.matfile import read_mat
from vprlib.interop.fill import fill
from vprlib.model.model import Architecture, PlaceModel
from vprlib.model.settings import PoolSettings
from vprlib.pipeline.params import UserError

GREY_LEVELS = (1 / 255,) * 3  # the std of an input from 0 to 255
_VGG16, _ALEXNET = 13, 5  # convolutions


@dataclass(frozen=True)
class Layer:
    label: str  # its number from 1, and its name
    kind: str  # conv, relu, pool, … as in the file
    weights: list[np.ndarray]

    @property
    def is_vlad(self) -> bool:
        """No other layer has two matrices of the same shape."""
        shapes = [_matrix(values).shape for values in self.weights]
        return len(shapes) == 2 and shapes[0] == shapes[1] and len(shapes[0]) == 2


def read_struct(path: Path) -> PlaceModel:
    variables = read_mat(path)
    if "net" not in variables:
        found = ", ".join(variables) or "nothing"
        raise UserError(f"{path} should hold a network as a struct 'net', but holds {found}.")
    net = next(_structs(variables["net"]), {})
    convolutions, vlad, whitening, pool = _sort(_layers(net), path)
    clusters = _matrix(vlad.weights[0]).shape[1]
    dims = None if whitening is None else _four_axes(whitening.weights[0]).shape[3]
    mean = tuple(value / 255 for value in _average_image(net, path))
    model = PlaceModel(Architecture("vgg16", "conv5_3", pool, clusters, dims, mean, GREY_LEVELS))
    tensors = _tensors(convolutions, vlad)
    if whitening is not None:
        tensors |= _whitening_tensors(whitening, vlad, path)
    ours = [name for name in model.state_dict() if name.startswith("backbone.")]
    ours += ["pool.conv.weight", "pool.centroids", "whitening.weight", "whitening.bias"]
    fill(model, tensors, dict(zip(ours, tensors, strict=False)), path)
    return model


def _structs(value: object) -> Iterator[dict[str, object]]:
    """The structs in a struct array or a cell array, nested or not."""
    if isinstance(value, np.ndarray) and value.dtype.names:
        for item in value.reshape(-1):
            yield {name: item[name] for name in value.dtype.names}
    elif isinstance(value, np.ndarray) and value.dtype == object:
        for item in value.reshape(-1):
            yield from _structs(item)


def _layers(net: Mapping[str, object]) -> list[Layer]:
    return [
        Layer(
            f"layer {place} ({_text(record.get('name')) or 'no name'})",
            _text(record.get("type")),
            list(_numbers(record.get("weights"))),
        )
        for place, record in enumerate(_structs(net.get("layers")), 1)
    ]


def _text(value: object) -> str:
    return str(value.reshape(-1)[0]) if isinstance(value, np.ndarray) and value.size else ""


def _numbers(value: object) -> Iterator[np.ndarray]:
    """The arrays of a cell array, or the array itself, without empty ones."""
    if isinstance(value, np.ndarray) and value.dtype == object:
        for item in value.reshape(-1):
            yield from _numbers(item)
    elif isinstance(value, np.ndarray) and value.dtype.kind in "iuf" and value.size:
        yield value


def _sort(layers: list[Layer], path: Path) -> tuple[list[Layer], Layer, Layer | None, PoolSettings]:
    """The layers by their weights: convolutions, NetVLAD, whitening; and how the pool is set."""
    place = next((i for i, layer in enumerate(layers) if layer.is_vlad), None)
    if place is None:
        raise UserError(
            f"{path} has no NetVLAD layer (two matrices of the same shape) among its"
            f" {len(layers)} layers: if it is an object of a class, save it as a struct."
        )
    before = [i for i, layer in enumerate(layers[:place]) if layer.weights]
    after = [i for i, layer in enumerate(layers) if i > place and layer.weights]
    _check_shape_of_network(layers, before, place, after, path)
    plain = len(layers) > len(before) + 1 + len(after)  # layers without weights are in the file too
    behind = (after[0] if after else len(layers)) - place - 1
    pool = PoolSettings(
        normalise_input=not plain or place > before[-1] + 1,
        intra_normalise=not plain or behind != 1,  # a single one is the last normalisation
    )
    whitening = layers[after[0]] if after else None
    return [layers[i] for i in before], layers[place], whitening, pool


def _check_shape_of_network(
    layers: list[Layer], before: list[int], place: int, after: list[int], path: Path
) -> None:
    if len(before) == _ALEXNET:
        raise UserError(
            f"{path} has {_ALEXNET} convolutions, like Caffe's AlexNet, whose grouped convolutions"
            " torchvision's AlexNet does not have: use the VGG16 network."
        )
    if len(before) != _VGG16:
        raise UserError(
            f"{path} has {len(before)} convolutions before its NetVLAD layer, but VGG16 has"
            f" {_VGG16}: use the VGG16 network."
        )
    between = [layer for layer in layers[before[-1] + 1 : place] if layer.kind in ("relu", "pool")]
    if between:
        raise UserError(
            f"{path} has a {between[0].kind} between its last convolution and its NetVLAD layer,"
            " but NetVLAD must follow conv5_3 directly."
        )
    if len(after) > 1:
        raise UserError(
            f"{path} has {len(after)} layers with weights after its NetVLAD layer"
            f" ({', '.join(layers[i].label for i in after)}), but at most one whitening is allowed."
        )


def _average_image(net: Mapping[str, object], path: Path) -> list[float]:
    """Mean red, green and blue; the file may hold a whole mean image."""
    for name in ("meta", "normalization"):
        net = next(_structs(net.get(name)), {})
    found = next(_numbers(net.get("averageImage")), np.empty(0))
    colours = found if found.ndim == 3 and found.shape[2] == 3 else found.reshape(1, 1, -1)
    if colours.shape[2] != 3 or not np.isfinite(colours).all():
        raise UserError(
            f"{path}: net.meta.normalization.averageImage should have three colours, but has the"
            f" shape {found.shape}."
        )
    return colours.astype(np.float64).mean(axis=(0, 1)).tolist()


def _matrix(values: np.ndarray) -> np.ndarray:
    """[D, K], in the file perhaps [1, 1, D, K]; MATLAB drops a last axis of size one."""
    four = _four_axes(values)
    return four[0, 0] if values.ndim > 2 and four.shape[:2] == (1, 1) else values


def _four_axes(values: np.ndarray) -> np.ndarray:
    return values.reshape(values.shape + (1,) * (4 - values.ndim))


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(values, np.float32, order="C"))


def _tensors(convolutions: list[Layer], vlad: Layer) -> dict[str, Tensor]:
    """[h, w, in, out] to [out, in, h, w], and [D, K] to [K, D]; the centres are stored negated."""
    tensors = {}
    for layer in convolutions:
        weight, bias = (*layer.weights, np.zeros(0))[:2]
        tensors[f"{layer.label}'s weights"] = _tensor(_four_axes(weight).transpose(3, 2, 0, 1))
        tensors[f"{layer.label}'s bias"] = _tensor(bias.reshape(-1))
    assignment, centres = (_matrix(values).T for values in vlad.weights)
    tensors[f"{vlad.label}'s assignment"] = _tensor(assignment[:, :, None, None])
    tensors[f"{vlad.label}'s centres"] = _tensor(-centres)
    return tensors


def _whitening_tensors(whitening: Layer, vlad: Layer, path: Path) -> dict[str, Tensor]:
    """[1, 1, D·K, out], where the cluster is the fastest axis, to our [out, K·D]."""
    label = whitening.label
    weight, *bias = whitening.weights
    dim, clusters = _matrix(vlad.weights[0]).shape
    weight = _four_axes(weight)
    if weight.shape[:3] != (1, 1, dim * clusters):
        raise UserError(
            f"{path}: the whitening {label} is {list(weight.shape)}, but the NetVLAD layer before"
            f" it gives {dim} × {clusters} = {dim * clusters} numbers."
        )
    dims = weight.shape[3]
    by_cluster = weight.reshape(dim, clusters, dims).transpose(2, 1, 0).reshape(dims, -1)
    added = bias[0].reshape(-1) if bias else np.zeros(dims)
    return {f"{label}'s weights": _tensor(by_cluster), f"{label}'s bias": _tensor(added)}
