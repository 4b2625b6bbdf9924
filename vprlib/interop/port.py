"""Reads and writes checkpoints of the PyTorch NetVLAD port, with `flags.json` beside them."""

import io
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vprlib.interop.fill import fill
from vprlib.model.backbones import IMAGENET_MEAN, IMAGENET_STD, channels
from vprlib.model.model import Architecture, PlaceModel
from vprlib.model.settings import PoolSettings
from vprlib.model.tensor_files import check_tensors, read_file
from vprlib.pipeline.artifacts import write_bytes, write_json
from vprlib.pipeline.params import UserError

History = dict[str, Any]
FLAGS = "flags.json"  # its options
CUTS = {"vgg16": "conv5_3", "alexnet": "conv5"}
# of the convolutions in the encoder
PLACES = {"vgg16": (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28), "alexnet": (0, 3, 6, 8, 10)}
_TRAINED = {"vgg16": 3, "alexnet": 1}  # last convolutions, which the port trains
_POOLINGS = {"netvlad": "netvlad", "max": "max", "avg": "average"}  # its name → ours
_SGD: dict[str, Any] = {"lr": 0.0001, "momentum": 0.9, "weight_decay": 0.001}  # its own defaults


def read_checkpoint(path: Path) -> tuple[PlaceModel, History]:
    """The network, and epoch, best score and recalls if the file has them."""
    content = read_file(path)
    content = content if isinstance(content, dict) else {}
    state = content.get("state_dict", content)
    found = state if isinstance(state, dict) else {}
    check_tensors(path, {n: t for n, t in found.items() if isinstance(t, Tensor)})
    tensors = _plain(found)
    backbone = _backbone(tensors, path)
    pool = _pool(tensors, path)
    clusters = _clusters(tensors, pool, channels(backbone, CUTS[backbone]))
    model = PlaceModel(Architecture(backbone, CUTS[backbone], pool, clusters))
    fill(model, tensors, _names(model), path)
    return model, _history(content)


def write_checkpoint(path: Path, model: PlaceModel, history: Mapping[str, Any]) -> None:
    """A file for the port's own loader, and its options beside it."""
    _check_holds(model, path)
    state = {theirs: model.state_dict()[ours] for ours, theirs in _names(model).items()}
    state = {name: tensor.detach().cpu().clone() for name, tensor in state.items()}
    recalls = dict(history.get("recalls", {}))
    content = {
        "epoch": int(history.get("epoch", history.get("best_epoch", 0))),
        "state_dict": state,
        "recalls": {int(n): float(score) for n, score in recalls.items()},
        "best_score": float(history.get("best_score", 0.0)),
        "optimizer": _fresh_optimizer(model.architecture, state),
        "parallel": False,
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_json(path.with_name(FLAGS), _flags(model.architecture))
    write_bytes(path, buffer.getvalue())


def _plain(state: Mapping[str, object]) -> dict[str, Tensor]:
    """The tensors, named as without `DataParallel`, and multiplied by the masks of pruning."""
    bare = re.compile(r"^(?:module\.)?(encoder\.|pool\.)(?:module\.)?")
    tensors = {bare.sub(r"\1", str(n)): t for n, t in state.items() if isinstance(t, Tensor)}
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    masked = [name.removesuffix("_mask") for name in tensors if name.endswith("_mask")]
    pruned = [name for name in masked if shapes.get(f"{name}_orig") == shapes[f"{name}_mask"]]
    parts = {f"{name}_{part}" for name in pruned for part in ("orig", "mask")}
    plain = {name: tensors[f"{name}_orig"] * tensors[f"{name}_mask"] for name in pruned}
    return {name: tensor for name, tensor in tensors.items() if name not in parts} | plain


def _backbone(tensors: Mapping[str, Tensor], path: Path) -> str:
    found = [name for name in tensors if name.startswith("encoder.")]
    if not found:
        held = ", ".join(list(tensors)[:3]) or "no tensor at all"
        raise UserError(
            f"{path} is not a checkpoint of the PyTorch NetVLAD port: it has no encoder.*, but"
            f" {held}; weights of a backbone alone belong in model.backbone.weights."
        )
    for backbone, places in PLACES.items():
        if {name.split(".")[1] for name in found} <= {str(place) for place in places}:
            return backbone
    layers = ", ".join(dict.fromkeys(name.split(".")[1] for name in found))
    raise UserError(
        f"{path} has an encoder with weights in the layers {layers}, which is neither VGG16 nor"
        " AlexNet, the backbones of the port."
    )


def _pool(tensors: Mapping[str, Tensor], path: Path) -> PoolSettings:
    """NetVLAD if there are weights; other pools are named in flags.json only."""
    if any(name.startswith("pool.") for name in tensors):
        return PoolSettings(version="v2" if "pool.conv.bias" in tensors else "v1")
    flags_path = path.with_name(FLAGS)
    try:
        pooling = json.loads(flags_path.read_text(encoding="utf-8"))["pooling"]
    except (OSError, ValueError, KeyError, TypeError):
        pooling = None
    if pooling not in ("max", "avg"):
        raise UserError(
            f"{path} has no pool.*, and {flags_path} does not say whether its pooling is max or"
            " avg: put the port's flags.json there."
        )
    return PoolSettings(kind=_POOLINGS[pooling])


def _clusters(tensors: Mapping[str, Tensor], pool: PoolSettings, width: int) -> int:
    """K, or 1 if it is unknown; `fill` then reports the shapes."""
    if pool.kind != "netvlad":
        return 0
    # fewer numbers a word would make a far larger layer than the file
    words = (tensors.get(name) for name in ("pool.centroids", "pool.conv.weight"))
    sizes = [len(w) for w in words if w is not None and w.ndim > 1 and w[:1].numel() == width]
    return sizes[0] if sizes else 1


def _names(model: PlaceModel) -> dict[str, str]:
    """Our name → the port's for each tensor, in the port's order."""
    places = PLACES[model.architecture.backbone]
    theirs = [f"encoder.{place}.{part}" for place in places for part in ("weight", "bias")]
    ours = [f"backbone.{name}" for name in model.backbone.state_dict()]
    pool = [f"pool.{name}" for name in model.pool.state_dict()]
    return dict(zip(ours, theirs, strict=True)) | {name: name for name in pool}


def _history(content: Mapping[str, object]) -> History:
    """The finite numbers among the port's records."""
    recalls = content.get("recalls")
    recalls = recalls if isinstance(recalls, dict) else {}
    records = {name: content.get(name) for name in ("epoch", "best_score")}
    kept: History = {name: value for name, value in records.items() if _is_number(value)}
    scores = {str(n): s for n, s in recalls.items() if isinstance(n, int) and _is_number(s)}
    return kept | ({"recalls": scores} if scores else {})


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _check_holds(model: PlaceModel, path: Path) -> None:
    a = model.architecture
    problem = None
    if a.difference is not None:
        problem = a.difference
    elif CUTS.get(a.backbone) != a.cut:
        problem = f"the backbone {a.backbone} cut at {a.cut}; it knows vgg16 and alexnet"
    elif a.pool.kind not in _POOLINGS.values():
        problem = f"the pool {a.pool.kind}"
    elif a.whitening is not None:
        problem = f"a whitening of its own ({a.whitening} dimensions)"
    elif not (a.plain_pool.normalise_input and a.plain_pool.intra_normalise):
        problem = "NetVLAD without normalise_input and intra_normalise"
    elif (a.mean, a.std) != (IMAGENET_MEAN, IMAGENET_STD):
        problem = f"an input normalised otherwise than ImageNet's (mean {a.mean}, std {a.std})"
    if problem:
        raise UserError(f"{path} was not written: the PyTorch port cannot hold {problem}.")


def _fresh_optimizer(architecture: Architecture, state: Mapping[str, Tensor]) -> dict:
    """The state of the port's SGD before its first step, for the layers that it trains."""
    tensors = 2 * _TRAINED[architecture.backbone]  # weight and bias
    encoder = [name for name in state if name.startswith("encoder.")][-tensors:]
    pool = [name for name in state if name.startswith("pool.")]
    learning = [state[name].clone().requires_grad_() for name in encoder + pool]
    fresh = torch.optim.SGD(learning, **_SGD).state_dict()
    fresh["param_groups"][0]["initial_lr"] = _SGD["lr"]  # set by its schedule
    return fresh


def _flags(architecture: Architecture) -> dict[str, object]:
    """The port's options for this network and optimiser."""
    pooling = {ours: theirs for theirs, ours in _POOLINGS.items()}[architecture.pool.kind]
    is_netvlad = architecture.pool.kind == "netvlad"
    return {
        "arch": architecture.backbone,
        "pooling": pooling,
        "num_clusters": architecture.clusters if is_netvlad else 64,
        "vladv2": is_netvlad and architecture.plain_pool.version == "v2",
        "optim": "SGD",
        "lr": _SGD["lr"],
        "lrStep": 5.0,
        "lrGamma": 0.5,
        "momentum": _SGD["momentum"],
        "weightDecay": _SGD["weight_decay"],
        "margin": 0.1,
        "nGPU": 1,
    }
