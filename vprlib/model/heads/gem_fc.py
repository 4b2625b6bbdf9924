"""GeM and a linear layer, the head of CosPlace (Berton et al., 2022) and EigenPlaces (2023)."""

import torch.nn.functional as F
from torch import Tensor, nn

from vprlib.model.heads.means import GeM
from vprlib.model.heads.rows import by_rows
from vprlib.model.heads.settings import GemFCSettings


class GemFC(nn.Module):
    """L2 over channels → GeM → linear → L2."""

    def __init__(self, settings: GemFCSettings, channels: int) -> None:
        super().__init__()
        self.gem = GeM(settings.gem_p)
        self.fc = nn.Linear(channels, settings.dimensions)

    def forward(self, features: Tensor) -> Tensor:
        """[B, D, H, W] to unit vectors [B, dimensions]."""
        means = self.gem.means(F.normalize(features, dim=1))
        return F.normalize(by_rows(self.fc, means), dim=1)
