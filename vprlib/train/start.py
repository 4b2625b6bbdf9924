"""The network that training starts from: backbone and pool, or a whole network from a file."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from vprlib.model.backbones import fingerprint
from vprlib.model.model import Architecture, PlaceModel, read_model
from vprlib.model.netvlad import initialise
from vprlib.model.settings import PoolSettings, has_words
from vprlib.model.weights import BackboneSettings
from vprlib.pipeline.params import UserError
from vprlib.train.sample import Sample


<<<<<<< HEAD
def read_start(path: Path) -> PlaceModel:
    """The network that training starts from."""
    model = read_model(path)
    if model.architecture.int8 is not None:
        raise UserError(f"{path} is in int8 and cannot be trained: use the network it was made of.")
    return model
=======

def read_start(path: Path, wanted: Architecture, whitening: StartWhitening) -> Network:
    """Reads the network and checks that it agrees with the settings; may drop its whitening."""
    network = read_network(path)
    if network.model.architecture.int8 is not None:
        raise UserError(
            f"the start {path} is in int8, which cannot be trained: use the network that it was"
            " made from."
        )
    _check_agrees(network.model.architecture, wanted, path)
    if whitening == "keep" or network.model.whitening is None:
        return network
    return replace(network, model=_without_whitening(network.model))


def _check_agrees(found: Architecture, wanted: Architecture, path: Path) -> None:
    sides = [_compared(architecture) for architecture in (found, wanted)]
    for (place, label), have in sides[0].items():
        want = sides[1].get((place, label), have)  # another kind of pool is reported first
        if have != want:
            raise UserError(
                f"the start {path} has {label}={have}, but {place} is {want}: set it to {have} in"
                " params.yaml, or take another model.start."
            )


def _compared(architecture: Architecture) -> dict[tuple[str, str], str]:
    """Setting and label → value; not GeM's exponent, which is learnt and taken from the file."""
    a = architecture
    values: dict[tuple[str, str], object] = {
        ("model.backbone.name", "backbone"): a.backbone,
        ("model.backbone.cut", "cut"): a.cut,
        ("model.pool.kind", "pool"): a.pool.kind,
    }
    if a.pool.kind == "netvlad":
        values |= {
            ("model.pool.version", "version"): a.pool.version,
            ("kmeans.clusters", "K"): a.clusters,
        }
        for name in ("normalise_input", "intra_normalise"):
            values["model.pool." + name, name] = getattr(a.pool, name)
    return {key: str(value).lower() for key, value in values.items()}


def _without_whitening(model: PlaceModel) -> PlaceModel:
    bare = PlaceModel(replace(model.architecture, whitening=None))
    bare.load_state_dict({name: model.state_dict()[name] for name in bare.state_dict()})
    return bare
>>>>>>> h-train


def assemble(
    kind: BackboneSettings,
    backbone: nn.Sequential,
    pool: PoolSettings,
    centroids: np.ndarray,
    sample: Sample,
) -> tuple[PlaceModel, float | None]:
    """The network before training, and α of NetVLAD (None for other pools).

    `sample` holds BatchNorm's statistics if they were calibrated.
    """
    if fingerprint(backbone) != sample.backbone:
        raise UserError(
            f"the weights '{kind.weights}' of {kind.name} changed since the features were"
            " sampled: run `dvc repro -f -s sample_features` and then `dvc repro`."
        )
    clusters = len(centroids) if has_words(pool.kind) else 0
    model = PlaceModel(Architecture(kind.name, kind.cut, pool, clusters))
    fitted = {name: torch.from_numpy(values) for name, values in sample.statistics.items()}
    model.backbone.load_state_dict({**backbone.state_dict(), **fitted})
    if not clusters:
        return model, None
    descriptors = torch.from_numpy(sample.descriptors)
    return model, initialise(model.pool, torch.from_numpy(centroids), descriptors)


def start_sentence(kind: BackboneSettings, model: PlaceModel, alpha: float | None) -> str:
    """A line about the network before training."""
    a = model.architecture
    pool = f"{a.pool.kind} pooling"
    if alpha is not None:
        pool = f"NetVLAD {a.pool.version}, K {a.clusters}, alpha {alpha:.2f}"
    return f"model: {kind.name} ({kind.weights}) with {pool}, {model.dim} dimensions"
