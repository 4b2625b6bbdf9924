"""NetVLAD-Linear of SuperPlace (2025): one linear layer, shared by all words, shortens NetVLAD."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vprlib.model.heads.rows import by_rows
from vprlib.model.heads.settings import NetVLADLinearSettings
from vprlib.model.heads.token import without_token
from vprlib.model.netvlad import NetVLAD


class NetVLADLinear(NetVLAD):
    """NetVLAD → linear, word by word → L2, and the class token beside it if that is wanted."""

    def __init__(self, settings: NetVLADLinearSettings, clusters: int, channels: int) -> None:
        super().__init__(clusters, channels, settings.version)
        self.linear = nn.Linear(channels, settings.channels)
        self.scene = None if settings.token is None else nn.Linear(channels, settings.token)

    def forward(self, features: Tensor) -> Tensor:
        """[B, D, H, W] to unit vectors [B, K·channels], cluster-major, after the token's part."""
        if self.scene is None:
            return F.normalize(self.linear(self.residuals(features)).flatten(1), dim=1)
        token, patches = without_token(features)
        scene = F.normalize(by_rows(self.scene, token), dim=1)
        words = F.normalize(self.linear(self.residuals(patches)).flatten(1), dim=1)
        return F.normalize(torch.cat([scene, words], dim=1), dim=1)
