"""Whole networks in files of any system, told apart by their content."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from safetensors import SafetensorError

from vprlib.formats.matfile import variable_names
from vprlib.interop.matlab_read import read_struct
from vprlib.interop.port import read_checkpoint
from vprlib.interop.published import is_published, read_published
from vprlib.interop.settings import NetworkSettings
from vprlib.interop.words import Words, kind_of, read_words
from vprlib.model.model import PlaceModel, read_history, read_model
from vprlib.model.onnx.network import OnnxNetwork
from vprlib.model.tensor_files import read_file, read_safetensors
from vprlib.pipeline.params import UserError


@dataclass(frozen=True)
class Network:
    source: str  # whose file it was
    model: PlaceModel
    history: Mapping[str, object] = field(default_factory=dict)  # epoch, best_score, recalls, …


def read_network(path: Path) -> Network:
    """Of ours, of the PyTorch port, of the MATLAB original, or one that was published since."""
    kind = kind_of(path)
    if kind == "safetensors" and _is_ours(path):
        return Network("model of vprlib", read_model(path), read_history(path))
    if kind in ("safetensors", "torch"):
        content = read_safetensors(path)[1] if kind == "safetensors" else read_file(path)
        if is_published(content):
            source, model = read_published(path, content)
            return Network(f"published network ({source})", model)
    if kind == "torch":
        return Network("checkpoint of the PyTorch port", *read_checkpoint(path))
    if kind == "mat":
        return Network("network of the MATLAB original", read_struct(path))
    held = "a file of visual words, for kmeans.file" if kind == "hdf5" else "something else"
    raise UserError(
        f"{path} should be a safetensors file of vprlib, a PyTorch checkpoint or a MATLAB struct,"
        f" but is {held}."
    )


def _is_ours(path: Path) -> bool:
    """Also a damaged file, of which `read_model` says what is wrong."""
    try:
        metadata, tensors = read_safetensors(path)
    except (SafetensorError, OSError, ValueError):
        return True
    return "header" in metadata or not is_published(tensors)


def read_onnx(path: Path, settings: NetworkSettings, place: str) -> OnnxNetwork | None:
    """The network of an entry that is in ONNX; None if it is of another kind."""
    if settings.input is None:
        if path.suffix == ".onnx":
            raise UserError(
                f"{path} is a network in ONNX, which does not tell how it takes images: add `input`"
                f" to {place} in params.yaml, with at least mean and std (see docs/models.md)."
            )
        return None
    if kind_of(path) != "unknown":
        raise UserError(
            f"{path} is not in ONNX, but {place} in params.yaml has `input`, which only such"
            " networks need: take it out."
        )
    if settings.whitening == "drop":
        raise UserError(
            f"{path} is a network in ONNX, whose layers are fixed: set {place}.whitening to keep."
        )
    return OnnxNetwork(path.read_bytes(), settings.input, str(path))


def load_network(path: Path, whitening: Literal["keep", "drop"]) -> Network:
    """As read_network; without its own whitening if that is to be dropped."""
    network = read_network(path)
    if whitening == "keep" or network.model.whitening is None:
        return network
    bare = PlaceModel(replace(network.model.architecture, whitening=None))
    bare.load_state_dict({name: network.model.state_dict()[name] for name in bare.state_dict()})
    return replace(network, model=bare)


def words_of(path: Path) -> Words:
    """The visual words of a file that holds them alone, or of a network's NetVLAD layer."""
    kind = kind_of(path)
    if kind == "hdf5" or (kind == "mat" and "net" not in variable_names(path)):
        return read_words(path)
    model = read_network(path).model
    if model.architecture.pool.kind != "netvlad":
        raise UserError(f"{path} has no visual words, because its pool is {_pool(model)}.")
    return Words(model.netvlad.centroids.detach().cpu().numpy())


def describe(network: Network) -> str:
    """One line about the network: source, layers, pool and dimensions."""
    a = network.model.architecture
    parts = [f"{a.backbone} ({a.cut})", _pool(network.model)]
    if a.whitening is not None:
        parts.append(f"whitening to {a.whitening}")
    parts.append(f"{network.model.dim} dimensions")
    if "epoch" in network.history:
        parts.append(f"epoch {network.history['epoch']}")
    if "best_score" in network.history:
        parts.append(f"best score {network.history['best_score']:.4f}")
    return f"{network.source}: {', '.join(parts)}"


def _pool(model: PlaceModel) -> str:
    a = model.architecture
    is_netvlad = a.pool.kind == "netvlad"
    return f"NetVLAD {a.plain_pool.version}, K {a.clusters}" if is_netvlad else a.pool.kind
