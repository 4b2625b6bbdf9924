"""Convolutional networks cut at their last convolution, and where their weights come from."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.error import URLError

import torch
import torchvision
from torch import Tensor, nn

from vprlib.params import Section, UserError

BackboneName = Literal["alexnet", "vgg16", "resnet18"]
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_RESNET_CHILDREN = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")


class BackboneSettings(Section):
    """Which network describes the images, and what it knows at the start."""

    name: BackboneName
    # random: from `seed`; imagenet: torchvision's own; else a file in data/raw/weights
    weights: str = "imagenet"
    seed: int = 1  # of random weights


@dataclass(frozen=True)
class _Family:
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


FAMILIES: dict[str, _Family] = {
    "alexnet": _Family(
        _features(torchvision.models.alexnet),
        256,
        {"conv1": 0, "conv2": 3, "conv3": 6, "conv4": 8, "conv5": 10},
        "features.",
    ),
    "vgg16": _Family(_features(torchvision.models.vgg16), 512, _vgg16_layers(), "features."),
    "resnet18": _Family(
        _resnet(torchvision.models.resnet18, "layer4"),
        512,
        {"conv1": 0, "layer1": 4, "layer2": 5, "layer3": 6, "layer4": 7},
        "",
    ),
}


def empty_backbone(name: str) -> nn.Sequential:
    """The network of that name with whatever weights; BatchNorm's statistics are frozen always."""
    return freeze_statistics(FAMILIES[name].build())


def freeze_statistics(network: nn.Sequential) -> nn.Sequential:
    return network.eval()


def channels(name: str) -> int:
    return FAMILIES[name].channels


def layer_names(name: str) -> list[str]:
    return list(FAMILIES[name].layers)


def trainable_children(name: str, first_layer: str) -> set[str]:
    """Names of the children from that layer on; 'pool' leaves the whole backbone frozen."""
    if first_layer == "pool":
        return set()
    layers = FAMILIES[name].layers
    if first_layer not in layers:
        raise UserError(
            f"params.yaml: train.first_layer is '{first_layer}', but {name} has"
            f" {', '.join(layers)} and pool."
        )
    children = [child for child, _ in empty_backbone(name).named_children()]
    return set(children[layers[first_layer] :])


def starting_backbone(settings: BackboneSettings, weights_dir: Path) -> nn.Sequential:
    """The backbone as the settings want it before any training."""
    network = empty_backbone(settings.name)
    if settings.weights == "random":
        _fill_at_random(network, settings.seed)
        return network
    if settings.weights == "imagenet":
        tensors = _imagenet(settings.name, weights_dir)
    else:
        tensors = _tensors_of(weights_dir / settings.weights)
    _fit(network, tensors, settings)
    return network


def is_uncalibrated(settings: BackboneSettings, network: nn.Module) -> bool:
    """Random weights have running statistics that fit no image yet."""
    return settings.weights == "random" and bool(statistics(network))


def statistics(network: nn.Module) -> dict[str, Tensor]:
    """BatchNorm's running mean and variance by name."""
    return {k: v for k, v in network.state_dict().items() if "running_" in k}


@torch.no_grad()
def calibrate(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Sets BatchNorm's statistics to their mean over the batches of images [B, 3, H, W]."""
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean of all batches
        norm.train()
    for batch in batches:
        network(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()


def fingerprint(network: nn.Module) -> str:
    """A digest of the learnt weights, without BatchNorm's statistics."""
    digest = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        if "running_" not in name and "num_batches" not in name:
            digest.update(name.encode())
            digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _fill_at_random(network: nn.Module, seed: int) -> None:
    """He's normal initialisation with zero biases, one generator in the order of the modules."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(
                module.weight, mode="fan_out", nonlinearity="relu", generator=generator
            )
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _imagenet(name: str, weights_dir: Path) -> dict[str, Tensor]:
    entry = torchvision.models.get_model_weights(name).IMAGENET1K_V1
    filename = entry.url.rpartition("/")[2]
    if (weights_dir / filename).exists():
        return _tensors_of(weights_dir / filename)
    try:
        return dict(entry.get_state_dict(progress=False, check_hash=True))
    except (URLError, OSError, RuntimeError) as error:
        raise UserError(
            f"the ImageNet weights of {name} could not be fetched from {entry.url} ({error}):"
            f" fetch that file elsewhere and put it at {weights_dir / filename}."
        ) from None


def _tensors_of(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors or PyTorch file, read without running any code of it."""
    if not path.is_file():
        raise UserError(f"the weights file {path} is missing: put or link it there.")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # unpicklers and zip readers raise anything on bad bytes
        reason = str(error).split("\n")[0]
        raise UserError(f"the weights file {path} cannot be read: {reason}.") from None
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not all(isinstance(v, Tensor) for v in content.values()):
        raise UserError(f"the weights file {path} holds no mapping of tensors.")
    return content


def _fit(network: nn.Module, tensors: dict[str, Tensor], settings: BackboneSettings) -> None:
    """Loads the backbone's own tensors out of a whole model's, or out of its features alone."""
    wanted = network.state_dict()
    prefix = FAMILIES[settings.name].prefix
    bare = {name.removeprefix("module.").removeprefix(prefix): t for name, t in tensors.items()}
    needed = [name for name in wanted if "num_batches" not in name]
    absent = [name for name in needed if name not in bare]
    wrong = [n for n in needed if n in bare and bare[n].shape != wanted[n].shape]
    if absent or wrong:
        problems = [f"lacks {name}" for name in absent[:3]]
        problems += [
            f"{n} is {list(bare[n].shape)} instead of {list(wanted[n].shape)}" for n in wrong[:3]
        ]
        raise UserError(
            f"the weights '{settings.weights}' do not fit {settings.name}: {'; '.join(problems)}."
        )
    network.load_state_dict({name: bare.get(name, wanted[name]) for name in wanted})
