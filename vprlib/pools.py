"""The layers that make one vector of local features: NetVLAD, average, maximum, GeM."""

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from vprlib.netvlad import NetVLAD, Version
from vprlib.params import Section

PoolKind = Literal["netvlad", "average", "max", "gem"]


class PoolSettings(Section):
    """How local features become one vector; all but `kind` and `gem_p` concern NetVLAD alone."""

    kind: PoolKind = "netvlad"
    version: Version = "v1"  # of the assignment: v1 without a bias, v2 with one
    normalise_input: bool = True  # local features to unit length first
    intra_normalise: bool = True  # each cluster's residual to unit length
    gem_p: float = Field(3.0, gt=0)  # where GeM's learnt exponent starts


class Average(nn.Module):
    """The mean over positions, as a unit vector."""

    def forward(self, features: Tensor) -> Tensor:
        return F.normalize(features.flatten(2).mean(dim=2), dim=1)


class Maximum(nn.Module):
    """The largest value over positions, as a unit vector."""

    def forward(self, features: Tensor) -> Tensor:
        return F.normalize(features.flatten(2).amax(dim=2), dim=1)


class GeM(nn.Module):
    """The generalised mean (Radenović et al., 2018) of what is positive, with a learnt exponent."""

    EPSILON = 1e-6  # below it a feature counts as this much

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor([float(p)]))

    def forward(self, features: Tensor) -> Tensor:
        powered = features.flatten(2).clamp(min=self.EPSILON).pow(self.p)
        return F.normalize(powered.mean(dim=2).pow(1 / self.p), dim=1)


def build_pool(settings: PoolSettings, clusters: int, dim: int) -> nn.Module:
    """The layer with whatever weights, for `dim` channels; only NetVLAD has clusters."""
    if settings.kind == "netvlad":
        return NetVLAD(
            clusters, dim, settings.version, settings.normalise_input, settings.intra_normalise
        )
    if settings.kind == "gem":
        return GeM(settings.gem_p)
    return Average() if settings.kind == "average" else Maximum()


def dim_out(settings: PoolSettings, clusters: int, dim: int) -> int:
    return clusters * dim if settings.kind == "netvlad" else dim
