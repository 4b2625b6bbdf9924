"""Pooling layers, from local features to one vector: NetVLAD, average, maximum, GeM."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vprlib.model.netvlad import NetVLAD
from vprlib.model.settings import PoolSettings, has_words


class Average(nn.Module):
    """The mean over positions, as a unit vector."""

    def forward(self, features: Tensor) -> Tensor:
        return F.normalize(features.flatten(2).mean(dim=2), dim=1)


class Maximum(nn.Module):
    """The largest value over positions, as a unit vector."""

    def forward(self, features: Tensor) -> Tensor:
        return F.normalize(features.flatten(2).amax(dim=2), dim=1)


class GeM(nn.Module):
    """The generalised mean (Radenović et al., 2018) with a learnt exponent."""

    EPSILON = 1e-6  # smaller features are raised to this

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor([float(p)]))

    def forward(self, features: Tensor) -> Tensor:
        x = features.flatten(2).clamp(min=self.EPSILON)  # B D N
        # divided out, since the power of a small number could underflow to zero
        largest = x.amax(dim=2, keepdim=True).detach()
        mean = (x / largest).pow(self.p).mean(dim=2, keepdim=True).pow(1 / self.p)
        return F.normalize((largest * mean).flatten(1), dim=1)


def build_pool(settings: PoolSettings, clusters: int, dim: int) -> nn.Module:
    """The layer for `dim` channels, uninitialised; only NetVLAD has clusters."""
    if has_words(settings.kind):
        return NetVLAD(
            clusters, dim, settings.version, settings.normalise_input, settings.intra_normalise
        )
    if settings.kind == "gem":
        return GeM(settings.gem_p)
    return Average() if settings.kind == "average" else Maximum()


def dim_out(settings: PoolSettings, clusters: int, dim: int) -> int:
    return clusters * dim if has_words(settings.kind) else dim
