"""Writes a network as a struct file of the official MATLAB NetVLAD."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from vprlib.formats.matfile import cell, mat_bytes
from vprlib.interop.matlab_read import GREY_LEVELS
from vprlib.model.model import PlaceModel
from vprlib.pipeline.artifacts import write_bytes
from vprlib.pipeline.params import UserError

_BLOCKS = (2, 2, 3, 3, 3)  # convolutions before each of VGG16's poolings
_EPSILON = 1e-12  # in MatConvNet's normalisations


def write_struct(path: Path, model: PlaceModel) -> None:
    """A std other than `GREY_LEVELS` is multiplied into the first convolution."""
    _check_holds(model, path)
    a = model.architecture
    average = np.array(a.mean, np.float64).reshape(1, 1, 3) * 255
    normalization = {"imageSize": [224.0, 224.0, 3.0], "averageImage": average.astype(np.float32)}
    layers = [*_vgg16_layers(model), *_vlad_layers(model), *_whitening_layers(model)]
    net = {"layers": cell(layers), "meta": {"normalization": normalization}}
    write_bytes(path, mat_bytes({"net": net}, "NetVLAD network"))


def _check_holds(model: PlaceModel, path: Path) -> None:
    a, problem = model.architecture, None
    if a.difference is not None:
        problem = a.difference
    elif (a.backbone, a.cut) != ("vgg16", "conv5_3"):
        problem = f"the backbone {a.backbone} cut at {a.cut}, but only vgg16 at conv5_3"
    elif a.pool.kind != "netvlad":
        problem = f"the pool {a.pool.kind}, but only NetVLAD"
    elif a.plain_pool.version != "v1":
        problem = f"NetVLAD {a.plain_pool.version}, since its assignment has no bias"
    if problem:
        raise UserError(f"{path} was not written: the MATLAB network cannot hold {problem}.")


def _vgg16_layers(model: PlaceModel) -> Iterator[dict[str, object]]:
    """Convolutions with their ReLUs and poolings, up to conv5_3 itself."""
    tensors = [tensor.detach().cpu().numpy() for tensor in model.backbone.state_dict().values()]
    pairs = list(zip(tensors[::2], tensors[1::2], strict=True))
    if tuple(model.architecture.std) != GREY_LEVELS:  # zero padding stays zero
        divisor = (255 * np.array(model.architecture.std)).reshape(1, 3, 1, 1)
        pairs[0] = (pairs[0][0] / divisor).astype(np.float32), pairs[0][1]
    waiting, two = iter(pairs), [2.0, 2.0]
    for block, count in enumerate(_BLOCKS, 1):
        for number in range(1, count + 1):
            weight, bias = next(waiting)
            filters = np.asfortranarray(weight.transpose(2, 3, 1, 0))
            yield _convolution(f"conv{block}_{number}", filters, bias, padding=1.0)
            if (block, number) != (len(_BLOCKS), _BLOCKS[-1]):
                yield {"type": "relu", "name": f"relu{block}_{number}"}
        if block < len(_BLOCKS):
            form = {"method": "max", "pool": two, "stride": two, "pad": [0.0] * 4}
            yield {"type": "pool", "name": f"pool{block}", **form}


def _convolution(
    name: str, filters: np.ndarray, bias: np.ndarray, padding: float
) -> dict[str, object]:
    weights = cell([filters, bias[None]])
    pad, stride = [padding] * 4, [1.0, 1.0]
    return {"type": "conv", "name": name, "weights": weights, "pad": pad, "stride": stride}


def _normalisation(name: str, size: int) -> dict[str, object]:
    return {"type": "normalize", "name": name, "param": [2.0 * size, _EPSILON, 1.0, 0.5]}


def _vlad_layers(model: PlaceModel) -> Iterator[dict[str, object]]:
    pool = model.netvlad
    clusters, dim = pool.centroids.shape
    if model.architecture.plain_pool.normalise_input:
        yield _normalisation("preL2", dim)
    assignment = pool.conv.weight.detach().cpu().numpy()[:, :, 0, 0].T
    centres = -pool.centroids.detach().cpu().numpy().T
    weights = cell([np.asfortranarray(assignment), np.asfortranarray(centres)])
    sizes = {"K": float(clusters), "D": float(dim), "vladDim": float(clusters * dim)}
    yield {"type": "custom", "name": "vlad:core", "weights": weights, **sizes}
    if model.architecture.plain_pool.intra_normalise:
        yield _normalisation("vlad:intranorm", dim)
    yield {"type": "custom", "name": "postL2"}


def _whitening_layers(model: PlaceModel) -> Iterator[dict[str, object]]:
    """[out, K·D] to [1, 1, D·K, out], where the cluster is the fastest axis."""
    if model.whitening is None:
        return
    clusters, dim = model.netvlad.centroids.shape
    weight = model.whitening.weight.detach().cpu().numpy()
    by_dim = weight.reshape(-1, clusters, dim).transpose(2, 1, 0).reshape(1, 1, dim * clusters, -1)
    yield _convolution("WPCA", by_dim, model.whitening.bias.detach().cpu().numpy(), padding=0.0)
    yield {"type": "custom", "name": "WPCA:L2"}
