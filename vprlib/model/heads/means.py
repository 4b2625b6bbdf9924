"""The mean, the maximum and GeM over the positions of a map."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


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
        return F.normalize(self.means(features), dim=1)

    def means(self, features: Tensor) -> Tensor:
        """One number a channel [B, D]."""
        x = features.flatten(2).clamp(min=self.EPSILON)  # B D N
        # divided out, since the power of a small number could underflow to zero
        largest = x.amax(dim=2, keepdim=True).detach()
        mean = (x / largest).pow(self.p).mean(dim=2, keepdim=True).pow(1 / self.p)
        return (largest * mean).flatten(1)
