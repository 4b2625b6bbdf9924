"""A whole network in place of backbone, words and a fresh pool: whether it is what is wanted."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

from vprlib.interop.networks import Network, read_network
from vprlib.model import Architecture, PlaceModel
from vprlib.params import UserError

StartWhitening = Literal["keep", "drop"]


def read_start(path: Path, wanted: Architecture, whitening: StartWhitening) -> Network:
    """The network in the file, which agrees with the recipe; its own whitening may be dropped."""
    network = read_network(path)
    if network.model.architecture.int8 is not None:
        raise UserError(
            f"the start {path} is in int8, which can no longer learn: take the network that it was"
            " made of."
        )
    _check_agrees(network.model.architecture, wanted, path)
    if whitening == "keep" or network.model.whitening is None:
        return network
    return replace(network, model=_without_whitening(network.model))


def _check_agrees(found: Architecture, wanted: Architecture, path: Path) -> None:
    sides = [_compared(architecture) for architecture in (found, wanted)]
    for (place, label), have in sides[0].items():
        want = sides[1].get((place, label), have)  # another kind of pool is told first
        if have != want:
            raise UserError(
                f"the start {path} has {label}={have}, but {place} is {want}: set it to {have} in"
                " params.yaml, or take another model.start."
            )


def _compared(architecture: Architecture) -> dict[tuple[str, str], str]:
    """Place in the recipe and label → value; GeM's exponent is learnt, and the file's holds."""
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
