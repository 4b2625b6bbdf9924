"""Where a backbone's weights come from: torchvision, a file, or chance."""

from pathlib import Path
from typing import Literal
from urllib.error import URLError

import torch
import torchvision
from torch import Tensor, nn

from vprlib.backbones import FAMILIES, empty_backbone, statistics
from vprlib.params import Section, Seed, UserError

BackboneName = Literal["alexnet", "vgg16", "resnet18"]


class BackboneSettings(Section):
    """Which network describes the images, and what it knows at the start."""

    name: BackboneName
    cut: str  # its last layer
    # random: from `seed`; imagenet: torchvision's own; else a file in data/raw/weights
    weights: str = "imagenet"
    seed: Seed = 1  # of random weights


def starting_backbone(settings: BackboneSettings, weights_dir: Path) -> nn.Sequential:
    """The backbone as the settings want it before any training."""
    network = empty_backbone(settings.name, settings.cut)
    if settings.weights == "random":
        fill_at_random(network, settings.seed)
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


def fill_at_random(network: nn.Module, seed: int) -> None:
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
