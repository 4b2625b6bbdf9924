"""MixVPR (Ali-bey et al., WACV 2023): positions are mixed by perceptrons, for maps of one size."""

import math

import torch.nn.functional as F
from torch import Tensor, nn

from vprlib.model.heads.settings import MixVPRSettings
from vprlib.pipeline.params import UserError


class Mixer(nn.Module):
    """x + W₂ ReLU(W₁ LayerNorm(x)) along the positions of each channel."""

    def __init__(self, positions: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(positions)
        self.first, self.second = (nn.Linear(positions, positions) for _ in range(2))
        for layer in (self.first, self.second):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.relu(self.first(self.norm(x))))


class MixVPR(nn.Module):
    """Mixers → fewer channels → fewer positions → L2."""

    def __init__(self, settings: MixVPRSettings, channels: int) -> None:
        super().__init__()
        self.map = settings.map
        positions = math.prod(settings.map)
        self.mixers = nn.Sequential(*(Mixer(positions) for _ in range(settings.blocks)))
        self.channels = nn.Linear(channels, settings.channels)
        self.rows = nn.Linear(positions, settings.rows)

    def forward(self, features: Tensor) -> Tensor:
        """[B, D, H, W] to unit vectors [B, channels·rows], channel-major."""
        height, width = features.shape[2:]
        if (height, width) != self.map:
            wanted = "×".join(map(str, self.map))
            raise UserError(
                f"MixVPR needs feature maps of {wanted} positions (height × width), but the images"
                f" give {height}×{width}: make all images as large as it needs with the data set's"
                " images.resize: [width, height], or set model.pool.map and train again."
            )
        mixed = self.mixers(features.flatten(2))  # B D N
        fewer = self.channels(mixed.transpose(1, 2)).transpose(1, 2)  # B C N
        return F.normalize(self.rows(fewer).flatten(1), dim=1)
