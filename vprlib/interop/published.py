"""Reads published networks: MegaLoc, SALAD, BoQ, MixVPR, ConvAP, CosPlace and EigenPlaces.

Architecture and sizes come from the names and shapes of the tensors in the file.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vprlib.interop.bodies import backbone_of
from vprlib.interop.fill import check_fit, fill
from vprlib.model import dinov2
from vprlib.model.backbones import Resample, bare_backbone, channels
from vprlib.model.heads.settings import (
    BoQSettings,
    ConvAPSettings,
    GemFCSettings,
    Head,
    MixVPRSettings,
    SaladSettings,
)
from vprlib.model.model import Architecture, PlaceModel
from vprlib.model.pools import build_pool
from vprlib.model.tensor_files import check_tensors
from vprlib.pipeline.params import UserError

Tensors = dict[str, Tensor]
Renames = tuple[tuple[str, str], ...]  # pattern of a published name → ours
_WRAPPERS = re.compile(
    r"^(?:(?:module|_orig_mod|model)\.)+(?=(?:backbone|aggregator|aggregation)\.)"
)
_POOL = re.compile(r"^(?:aggregator|aggregation)\.(?:module\.)?(?:agg\.)?")
_BACKBONE = re.compile(r"^backbone\.(?:(?:module|model|dino|net)\.)*")
_NO_NORM = "backbone.dino."
_OTHERS = re.compile(r"^(?:loss|miner|criterion|classifier)")  # of training
_HEADS = "GeM with a linear layer, ConvAP, MixVPR, BoQ, SALAD and MegaLoc"


@dataclass(frozen=True)
class Found:
    """A head as its tensors tell it."""

    source: str
    settings: Head
    width: int  # channels of the map that it takes
    renames: Renames
    sides: Mapping[str, int] = field(default_factory=dict)  # of images, by the start of a backbone
    resample: Resample = "bilinear"

    def side(self, backbone: str, cut: str) -> int | None:
        """Pixels a side that its authors resize images to; None: images keep their size."""
        if isinstance(self.settings, MixVPRSettings):
            stride = 14 if backbone in dinov2.NETWORKS else 16 if cut == "layer3" else 32
            return stride * self.settings.map[0]
        return next((side for name, side in self.sides.items() if backbone.startswith(name)), None)


def is_published(content: object) -> bool:
    """Whether the file holds a backbone and an aggregator under these names."""
    names = _state(content)
    return any(map(_POOL.match, names)) and any(map(_BACKBONE.match, names))


def read_published(path: Path, content: object) -> tuple[str, PlaceModel]:
    """Whose network it is, and the network."""
    state = _state(content)
    check_tensors(path, state)
    head = {_POOL.sub("", n): t for n, t in state.items() if _POOL.match(n)}
    body = {_BACKBONE.sub("", n): t for n, t in state.items() if _BACKBONE.match(n)}
    others = [n for n in state if not any(p.match(n) for p in (_POOL, _BACKBONE, _OTHERS))]
    if others:
        raise UserError(
            f"{path} is not one of the published networks that can be read: {others[0]} belongs"
            " neither to the backbone nor to the aggregator."
        )
    part = "an aggregator"
    try:
        found, pool = head_of(head)
        # OpenVPRLab and BoQ, which call DINOv2 so, leave its last normalisation out
        has_norm = found.settings.kind != "boq" and not any(n.startswith(_NO_NORM) for n in state)
        part = "a backbone"
        backbone, cut, tensors = backbone_of(body, found.width, has_norm, path)
    except (KeyError, IndexError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path} has {part} that cannot be read: {reason}.") from None
    side = found.side(backbone, cut)
    size = None if side is None else (side, side)
    a = Architecture(backbone, cut, found.settings, size=size, resample=found.resample)
    ours = {f"backbone.{name}": tensor for name, tensor in tensors.items()}
    ours |= {f"pool.{name}": tensor for name, tensor in pool.items()}
    needed = _needed(a)  # before so much memory is taken
    check_fit(needed, ours, {name: name for name in needed}, backbone, path)
    model = PlaceModel(a)
    fill(model, ours, {name: name for name in needed}, path)
    return found.source, model


def _needed(a: Architecture) -> Tensors:
    """The tensors of a network by name, without values."""
    body = bare_backbone(a.backbone, a.cut, None, a.pool.has_token)
    with torch.device("meta"):
        pool = build_pool(a.pool, 0, channels(a.backbone, a.cut))
    return {**body.state_dict(prefix="backbone."), **pool.state_dict(prefix="pool.")}


def _state(content: object) -> Tensors:
    """The tensors by name, without what wraps the network; others of the checkpoint are left."""
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    named = content.items() if isinstance(content, dict) else ()
    return {_WRAPPERS.sub("", str(n)): t for n, t in named if isinstance(t, Tensor)}


def _renamed(name: str, renames: Renames) -> str:
    for pattern, ours in renames:
        name = re.sub(f"^{pattern}", ours, name)
    return name


def head_of(tensors: Tensors) -> tuple[Found, Tensors]:
    """The head, told by a tensor that no other has, and its tensors by our names."""
    marker = next((marker for marker in _READERS if marker in tensors), None)
    if marker is None:
        some = ", ".join(list(tensors)[:3])
        raise ValueError(f"its tensors ({some}) are of none of {_HEADS}")
    found = _READERS[marker](tensors)
    return found, {_renamed(name, found.renames): t for name, t in tensors.items()}


def _gem_fc(t: Mapping[str, Tensor]) -> Found:
    fc = t["3.weight"] if "3.weight" in t else t["fc.weight"]
    settings = GemFCSettings(kind="gem_fc", dimensions=fc.shape[0])
    names = ((r"1\.p$", "gem.p"), (r"3\.", "fc."))
    return Found("CosPlace or EigenPlaces", settings, fc.shape[1], names)


def _convap(t: Mapping[str, Tensor]) -> Found:
    out, width = t["channel_pool.weight"].shape[:2]
    settings = ConvAPSettings(kind="convap", channels=out)
    return Found("ConvAP", settings, width, ((r"channel_pool\.", "conv."),), {"": 320})


def _mixvpr(t: Mapping[str, Tensor]) -> Found:
    (rows, positions), (out, width) = t["row_proj.weight"].shape, t["channel_proj.weight"].shape
    side = math.isqrt(positions)
    if side * side != positions:
        raise ValueError(f"{positions} positions are no square map")
    blocks = _count(t, r"mix\.(\d+)\.")
    settings = MixVPRSettings(
        kind="mixvpr", map=(side, side), blocks=blocks, channels=out, rows=rows
    )
    names = (
        (r"channel_proj\.", "channels."),
        (r"row_proj\.", "rows."),
        (r"mix\.(\d+)\.mix\.0\.", r"mixers.\1.norm."),
        (r"mix\.(\d+)\.mix\.1\.", r"mixers.\1.first."),
        (r"mix\.(\d+)\.mix\.3\.", r"mixers.\1.second."),
    )
    return Found("MixVPR", settings, width, names)


def _boq(t: Mapping[str, Tensor]) -> Found:
    dim, width = t["proj_c.weight"].shape[:2]
    settings = BoQSettings(
        kind="boq",
        channels=dim,
        queries=t["boqs.0.queries"].shape[1],
        blocks=_count(t, r"boqs\.(\d+)\."),
        rows=t["fc.weight"].shape[0],
    )
    names = (
        (r"proj_c\.", "conv."),
        (r"norm_input\.", "norm."),
        (r"fc\.", "rows."),
        (r"boqs\.(\d+)\.self_attn\.", r"boqs.\1.own."),
        (r"boqs\.(\d+)\.cross_attn\.", r"boqs.\1.cross."),
        (r"boqs\.(\d+)\.norm_q\.", r"boqs.\1.norm."),
        (r"boqs\.(\d+)\.encoder\.self_attn\.", r"boqs.\1.encoder.attention."),
        (r"boqs\.(\d+)\.encoder\.linear1\.", r"boqs.\1.encoder.first."),
        (r"boqs\.(\d+)\.encoder\.linear2\.", r"boqs.\1.encoder.second."),
        (r"boqs\.", "blocks."),
    )
    return Found("BoQ", settings, width, names, {"dinov2": 322, "resnet": 384}, "bicubic")


def _salad(t: Mapping[str, Tensor]) -> Found:
    hidden, width = t["score.0.weight"].shape[:2]
    linear = t["linear.weight"].shape[0] if "linear.weight" in t else None
    settings = SaladSettings(
        kind="salad",
        clusters=t["score.3.weight"].shape[0],
        channels=t["cluster_features.3.weight"].shape[0],
        token=t["token_features.2.weight"].shape[0],
        hidden=hidden,
        linear=linear,
    )
    names = (
        (r"cluster_features\.", "local."),
        (r"token_features\.", "scene."),
        (r"dust_bin$", "dustbin"),
    )
    if linear is None:
        return Found("SALAD", settings, width, names, {"": 322})
    return Found("MegaLoc", settings, width, names)


_READERS: dict[str, Callable[[Mapping[str, Tensor]], Found]] = {
    **{"1.p": _gem_fc, "gem.p": _gem_fc, "channel_pool.weight": _convap},
    **{"row_proj.weight": _mixvpr, "proj_c.weight": _boq, "dust_bin": _salad},
}


def _count(names: Mapping[str, Any], pattern: str) -> int:
    """How many numbers the pattern finds in the names."""
    return len({m[1] for m in (re.match(pattern, name) for name in names) if m})
