"""Convolutional networks cut at their last convolution, with BatchNorm frozen."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
import torchvision
from torch import Tensor, nn

from vprlib.params import UserError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_RESNET_CHILDREN = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")


@dataclass(frozen=True)
class Family:
    build: Callable[[], nn.Sequential]
    channels: int
    layers: dict[str, int]  # trainable layer → first child that belongs to it
    prefix: str  # of these tensors in a file of the whole torchvision model


class Normaliser(nn.Module):
    """uint8 images [B, H, W, 3] to the network's float input [B, 3, H, W]."""

    def __init__(
        self, mean: tuple[float, ...] = IMAGENET_MEAN, std: tuple[float, ...] = IMAGENET_STD
    ) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean), persistent=False)
        self.register_buffer("std", torch.tensor(std), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        return ((pixels / 255.0 - self.mean) / self.std).permute(0, 3, 1, 2).contiguous()


def _features(build: Callable[..., nn.Module]) -> Callable[[], nn.Sequential]:
    # without the last ReLU and pooling: conv5 itself
    return lambda: build(weights=None).features[:-2]


def _resnet(build: Callable[..., nn.Module], last: str) -> Callable[[], nn.Sequential]:
    names = _RESNET_CHILDREN[: _RESNET_CHILDREN.index(last) + 1]

    def cut() -> nn.Sequential:
        whole = build(weights=None)
        return nn.Sequential(OrderedDict((name, getattr(whole, name)) for name in names))

    return cut


def _vgg16_layers() -> dict[str, int]:
    places = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
    names = [f"conv{b}_{c}" for b, n in enumerate((2, 2, 3, 3, 3), 1) for c in range(1, n + 1)]
    return dict(zip(names, places, strict=True))


FAMILIES: dict[str, Family] = {
    "alexnet": Family(
        _features(torchvision.models.alexnet),
        256,
        {"conv1": 0, "conv2": 3, "conv3": 6, "conv4": 8, "conv5": 10},
        "features.",
    ),
    "vgg16": Family(_features(torchvision.models.vgg16), 512, _vgg16_layers(), "features."),
    "resnet18": Family(
        _resnet(torchvision.models.resnet18, "layer4"),
        512,
        {"conv1": 0, "layer1": 4, "layer2": 5, "layer3": 6, "layer4": 7},
        "",
    ),
}


def empty_backbone(name: str, cut: str) -> nn.Sequential:
    """The network of that name with whatever weights; BatchNorm's statistics are frozen always."""
    return FAMILIES[name].build().eval()


def channels(name: str, cut: str) -> int:
    return FAMILIES[name].channels


def layer_names(name: str) -> list[str]:
    return list(FAMILIES[name].layers)


def trainable_children(name: str, cut: str, first_layer: str) -> set[str]:
    """Names of the children from that layer on; 'pool' leaves the whole backbone frozen."""
    if first_layer == "pool":
        return set()
    layers = FAMILIES[name].layers
    if first_layer not in layers:
        raise UserError(
            f"params.yaml: train.first_layer is '{first_layer}', but {name} has"
            f" {', '.join(layers)} and pool."
        )
    with torch.device("meta"):  # names alone, no memory and no random numbers
        children = [child for child, _ in empty_backbone(name, cut).named_children()]
    return set(children[layers[first_layer] :])


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
