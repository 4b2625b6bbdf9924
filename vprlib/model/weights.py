"""Weights of a backbone: torchvision's, a package's, those of a file, or random ones."""

import re
from pathlib import Path
from urllib.error import URLError

from pydantic import field_validator
from torch import Tensor, nn

from vprlib.model import dinov2, lite0
from vprlib.model.backbones import (
    empty_backbone,
    fill_at_random,
    lacks,
    names,
    renamed,
    statistics,
)
from vprlib.model.classic import NETWORKS
from vprlib.model.settings import unknown_name
from vprlib.model.tensor_files import read_tensors
from vprlib.pipeline.inside import Name, inside
from vprlib.pipeline.params import Section, Seed, UserError

# before the names of a backbone's own tensors, in files of whole models
_PREFIXES = re.compile(r"^(?:(?:module|encoder|backbone|features)\.)+")


# names that are known before torchvision is loaded
QUICK = {*dinov2.NETWORKS, *lite0.NETWORKS, *NETWORKS}


class BackboneSettings(Section):
    """Which backbone is used, and its weights before training."""

    # efficientnet_lite0, torchvision's name of a convolutional network, or DINOv2's
    name: str
    cut: str  # its last layer
    # random: from `seed`; packaged: those installed with efficientnet_lite0; imagenet:
    # torchvision's own; else a file in data/raw/weights
    weights: Name = "imagenet"
    seed: Seed = 1  # of random weights

    @field_validator("name")
    @classmethod
    def _exists(cls, name: str) -> str:
        if name not in QUICK and name not in names():
            raise ValueError(unknown_name(name, names()))
        return name


def starting_backbone(settings: BackboneSettings, weights_dir: Path) -> nn.Sequential:
    """The backbone of the settings, before any training."""
    _check_source(settings)
    network = empty_backbone(settings.name, settings.cut)
    if settings.weights == "random":
        fill_at_random(network, settings.seed)
        return network
    if settings.weights == "imagenet":
        tensors = _imagenet(settings.name, weights_dir)
    elif settings.weights == "packaged":
        tensors = read_tensors(lite0.packaged_file())
    else:
        tensors = read_tensors(inside(weights_dir, settings.weights, "model.backbone.weights"))
    bare = {_PREFIXES.sub("", name): tensor for name, tensor in tensors.items()}
    _fit(network, renamed(settings.name, bare), settings)
    return network


def _check_source(settings: BackboneSettings) -> None:
    """Refuses weights that this network does not come with."""
    if problem := lacks(settings.name, settings.weights):
        raise UserError(
            f"params.yaml: model.backbone.weights is '{settings.weights}', but {settings.name}"
            f" {problem}."
        )


def is_uncalibrated(settings: BackboneSettings, network: nn.Module) -> bool:
    """Whether BatchNorm needs to be calibrated on images, as random weights do."""
    return settings.weights == "random" and bool(statistics(network))


def _imagenet(name: str, weights_dir: Path) -> dict[str, Tensor]:
    """torchvision's first ImageNet weights, or the default ones if a network has no others."""
    import torchvision  # here, since it takes over a second

    entries = torchvision.models.get_model_weights(name)
    entry = getattr(entries, "IMAGENET1K_V1", entries.DEFAULT)
    filename = entry.url.rpartition("/")[2]
    if (weights_dir / filename).exists():
        return read_tensors(weights_dir / filename)
    try:
        return dict(entry.get_state_dict(progress=False, check_hash=True))
    except (URLError, OSError, RuntimeError) as error:
        raise UserError(
            f"the ImageNet weights of {name} could not be fetched from {entry.url} ({error}):"
            f" fetch that file elsewhere and put it at {weights_dir / filename}."
        ) from None


def _fit(network: nn.Module, tensors: dict[str, Tensor], settings: BackboneSettings) -> None:
    """Loads the backbone's tensors and ignores all others of the file."""
    wanted = network.state_dict()
    needed = [name for name in wanted if "num_batches" not in name]
    absent = [name for name in needed if name not in tensors]
    wrong = [n for n in needed if n in tensors and tensors[n].shape != wanted[n].shape]
    if absent or wrong:
        problems = [f"lacks {name}" for name in absent[:3]]
        problems += [
            f"{n} is {list(tensors[n].shape)} instead of {list(wanted[n].shape)}" for n in wrong[:3]
        ]
        raise UserError(
            f"the weights '{settings.weights}' do not fit {settings.name}: {'; '.join(problems)}."
        )
    network.load_state_dict({name: tensors.get(name, wanted[name]) for name in wanted})
