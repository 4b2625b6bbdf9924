"""The backbones of published networks, told by the names and shapes of their tensors."""

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from vprlib.interop.port import PLACES
from vprlib.model import dinov2
from vprlib.model.backbones import bare_backbone, channels
from vprlib.pipeline.params import UserError

Tensors = dict[str, Tensor]
# by whether a block has three convolutions, and the blocks of the first three layers
_RESNETS: dict[tuple[bool, tuple[int, ...]], str] = {
    **{(False, (2, 2, 2)): "resnet18", (False, (3, 4, 6)): "resnet34"},
    **{(True, (3, 4, 6)): "resnet50", (True, (3, 4, 23)): "resnet101"},
    (True, (3, 8, 36)): "resnet152",
}
# children of a ResNet by their place in a list of them
_PLACES = {"0": "conv1", "1": "bn1", **{str(n + 3): f"layer{n}" for n in range(1, 5)}}
_UNUSED = re.compile(r"^(?:fc|avgpool|head|mask_token)\b")


def backbone_of(
    tensors: Tensors, width: int, has_norm: bool, path: Path
) -> tuple[str, str, Tensors]:
    """Name, cut and tensors, by our names, of a backbone whose map has `width` channels.

    `has_norm` is whether DINOv2's last normalisation is used, which no tensor tells.
    """
    kept = {name: tensor for name, tensor in tensors.items() if not _UNUSED.match(name)}
    if "cls_token" in kept:
        return _dinov2(kept, has_norm, path)
    if kept and {name.split(".")[0] for name in kept} <= {str(n) for n in PLACES["vgg16"]}:
        return "vgg16", "conv5_3", kept
    return _resnet(kept, width, path)


def _dinov2(tensors: Tensors, has_norm: bool, path: Path) -> tuple[str, str, Tensors]:
    width, blocks = tensors["cls_token"].shape[-1], 1 + _last(tensors, r"blocks\.(\d+)\.")
    has_registers = "register_tokens" in tensors
    fits = (width, blocks)
    name = next(
        (
            name
            for name, (_, *sizes) in dinov2.NETWORKS.items()
            if tuple(sizes) == fits and name.endswith("_reg") == has_registers
        ),
        None,
    )
    if name is None:
        raise UserError(
            f"{path} has a vision transformer of {blocks} blocks and {width} channels, which is"
            f" none of {', '.join(dinov2.NETWORKS)}."
        )
    cut = "norm" if has_norm else f"block{blocks - 1}"
    found = dinov2.renamed(name, tensors)
    if not has_norm:
        found = {key: tensor for key, tensor in found.items() if not key.startswith("norm.")}
    return name, cut, found


def _resnet(tensors: Tensors, width: int, path: Path) -> tuple[str, str, Tensors]:
    named = _as_torchvision(tensors)
    blocks = tuple(1 + _last(named, rf"layer{n}\.(\d+)\.") for n in (1, 2, 3))
    name = _RESNETS.get(("layer1.0.conv3.weight" in named, blocks))
    if name is None or "conv1.weight" not in named:
        some = ", ".join(list(tensors)[:3]) or "no tensor"
        raise UserError(
            f"{path} has a backbone with {some}, which is none of {', '.join(_RESNETS.values())},"
            " vgg16 and DINOv2."
        )
    cut = "layer3" if channels(name, "layer3") == width else "layer4"
    if cut == "layer3":  # what comes after the cut is not used
        named = {key: tensor for key, tensor in named.items() if not key.startswith("layer4.")}
    counters = bare_backbone(name, cut).state_dict()
    absent = {key for key in counters if key.endswith("num_batches_tracked")} - set(named)
    return name, cut, named | {key: named["bn1.running_mean"].new_zeros(()) for key in absent}


def _as_torchvision(tensors: Mapping[str, Tensor]) -> Tensors:
    """Named as in torchvision, from lists of children, whole or in a frozen and a learning half."""
    frozen = 1 + _last(tensors, r"frozen_layers\.(\d+)\.")

    def renamed(name: str) -> str:
        half = re.match(r"(un)?frozen_layers\.(\d+)\.(.*)", name)
        if half is None:
            place, _, rest = name.partition(".")
            return f"{_PLACES[place]}.{rest}" if place in _PLACES else name
        layer = int(half[2]) + (frozen if half[1] else 0)
        if layer:
            return f"layer{layer}.{half[3]}"
        child, _, rest = half[3].partition(".")
        return f"{_PLACES.get(child, child)}.{rest}"

    return {renamed(name): tensor for name, tensor in tensors.items()}


def _last(names: Mapping[str, Tensor], pattern: str) -> int:
    """The largest number that the pattern finds in a name, or −1."""
    return max((int(m[1]) for m in (re.match(pattern, n) for n in names) if m), default=-1)
