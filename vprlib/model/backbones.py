"""Backbones: networks cut at a layer that gives a feature map, with BatchNorm frozen."""

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vprlib.model import dinov2, lite0, torchvision_chain
from vprlib.pipeline.params import UserError

Resample = Literal["bilinear", "bicubic"]
# by layer: channels in, channels out and groups of a convolution; channels of a normalisation
Widths = Mapping[str, tuple[int, ...]]


def widths_of(network: nn.Module) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d):
            found[name] = (layer.in_channels, layer.out_channels, layer.groups)
        elif isinstance(layer, nn.BatchNorm2d):
            found[name] = (layer.num_features,)
    return found


def _narrowed(layer: nn.Module, width: tuple[int, ...]) -> nn.Module:
    """The layer with fewer channels, on the meta device; weights are loaded later."""
    if isinstance(layer, nn.BatchNorm2d):
        (channels,) = width
        return nn.BatchNorm2d(channels, layer.eps, layer.momentum, layer.affine, device="meta")
    assert isinstance(layer, nn.Conv2d)
    given, found, groups = width
    names = ("kernel_size", "stride", "padding", "dilation")
    form = {name: getattr(layer, name) for name in names}
    form |= {"groups": groups, "bias": layer.bias is not None}
    return nn.Conv2d(given, found, **form, device="meta")


IMAGENET_MEAN, IMAGENET_STD = torchvision_chain.MEAN, torchvision_chain.STD


class Normaliser(nn.Module):
    """uint8 images [B, H, W, 3] to the network's float input [B, 3, H, W], of one size if asked."""

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[float, ...] = IMAGENET_STD,
        size: tuple[int, int] | None = None,  # height and width
        resample: Resample = "bilinear",
    ) -> None:
        super().__init__()
        self.size, self.resample = size, resample
        self.register_buffer("mean", torch.tensor(mean), persistent=False)
        self.register_buffer("std", torch.tensor(std), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Normalises whole rows of pixels at once, which is faster than three values at a time."""
        width = pixels.shape[2]
        mean, std = (t.expand(width, 3).reshape(-1) for t in (self.mean, self.std))
        numbers = (pixels.flatten(2) / 255.0).sub_(mean).div_(std)
        images = numbers.unflatten(2, (width, 3)).permute(0, 3, 1, 2)  # channels-last
        if self.size is None or tuple(images.shape[2:]) == self.size:
            return images
        return F.interpolate(images, self.size, mode=self.resample, antialias=True)


def names() -> list[str]:
    """Names of all networks; a few of torchvision's cannot be cut and are refused later."""
    return [*torchvision_chain.names(), *dinov2.NETWORKS, *lite0.NETWORKS]


def normalisation(name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of the colours that the network was trained with."""
    home = _home(name)
    return home.MEAN, home.STD


def lacks(name: str, weights: str) -> str | None:
    """What to say where the network does not come with such weights."""
    problem: str | None = _home(name).LACKS.get(weights)
    return problem and problem.format(name=name)


def renamed(name: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a published file under the names of the chain."""
    return _home(name).renamed(name, tensors)


def empty_backbone(
    name: str, cut: str, widths: Widths | None = None, has_token: bool = False
) -> nn.Sequential:
    """The network up to the cut, with uninitialised weights and BatchNorm frozen.

    `widths` are those of pruned layers. `has_token` puts the class token above the map.
    """
    network = bare_backbone(name, cut, widths, has_token).to_empty(device="cpu").eval()
    fill_at_random(network, 0)
    return network


def bare_backbone(
    name: str, cut: str, widths: Widths | None = None, has_token: bool = False
) -> nn.Sequential:
    """The same without weights, on the meta device."""
    network: nn.Sequential = _home(name).cut_network(name, cut)
    if has_token:
        if not isinstance(network, dinov2.Dinov2):
            raise UserError(
                f"params.yaml: the pool of model.pool needs a class token, which {name} does not"
                f" have: set model.backbone.name to one of {', '.join(dinov2.NETWORKS)}."
            )
        network.gives_token = True
    for layer, width in (widths or {}).items():
        network.set_submodule(layer, _narrowed(network.get_submodule(layer), width))
    return network


def channels(name: str, cut: str) -> int:
    return _home(name).channels(name, cut)


def layer_names(name: str, cut: str) -> list[str]:
    """Names for `first_layer` up to the cut: friendly names of layers, or else all children."""
    kept = _home(name).kept_children(name, cut)
    friendly = _home(name).aliases(name)
    return [alias for alias, child in friendly.items() if child in kept] or kept


def trainable_children(name: str, cut: str, first_layer: str) -> set[str]:
    """Names of the children from that layer on; 'pool' leaves the whole backbone frozen."""
    if first_layer == "pool":
        return set()
    kept = _home(name).kept_children(name, cut)
    first = _home(name).aliases(name).get(first_layer, first_layer)
    if first not in kept:
        raise UserError(
            f"params.yaml: train.first_layer is '{first_layer}', but {name} has"
            f" {', '.join(layer_names(name, cut))} and pool."
        )
    return set(kept[kept.index(first) :])


def parts(network: nn.Module, learning: set[str]) -> tuple[nn.Sequential, nn.Sequential]:
    """The children before the first that learns, and the others; they pass a map [B, D, H, W]."""
    children = list(network.named_children())
    place = next((n for n, (name, _) in enumerate(children) if name in learning), len(children))
    if isinstance(network, dinov2.Dinov2):
        return dinov2.parts(network, place)
    before, after = (OrderedDict(part) for part in (children[:place], children[place:]))
    return nn.Sequential(before), nn.Sequential(after)


def fill_at_random(network: nn.Module, seed: int) -> None:
    """He's normal initialisation with zero biases, one generator in the order of the modules.

    Other layers start as in PyTorch, from the same seed; the global generator is unchanged. Scales
    that belong to no layer of PyTorch start as ones.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        for module in network.modules():
            reset = getattr(module, "reset_parameters", None)
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(
                    module.weight, mode="fan_out", nonlinearity="relu", generator=generator
                )
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif callable(reset):
                reset()
            else:
                for parameter in module.parameters(recurse=False):
                    nn.init.ones_(parameter)


def statistics(network: nn.Module) -> dict[str, Tensor]:
    """BatchNorm's running mean and variance by name."""
    return {k: v for k, v in network.state_dict().items() if "running_" in k}


@torch.no_grad()
def calibrate(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Sets BatchNorm's statistics to their mean over the images of the batches."""
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.train()
    seen = 0
    for batch in batches:
        seen += len(batch)
        for norm in norms:
            norm.momentum = len(batch) / seen  # the running mean over images
        # one image alone is doubled: a map of one pixel has no variance
        network(batch if len(batch) > 1 else batch.expand(2, *batch.shape[1:]))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()


def fingerprint(network: nn.Module) -> str:
    """A digest of the learnt weights, without BatchNorm's statistics."""
    digest = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        if "running_" not in name and "num_batches" not in name:
            digest.update(name.encode())
            digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _home(name: str) -> ModuleType:
    """The module that implements the network."""
    return next((home for home in (dinov2, lite0) if name in home.NETWORKS), torchvision_chain)
