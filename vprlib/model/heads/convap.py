"""ConvAP, the head of GSV-Cities (Ali-bey et al., 2022)."""

import torch.nn.functional as F
from torch import Tensor, nn

from vprlib.model.heads.settings import ConvAPSettings


class ConvAP(nn.Module):
    """Convolution 1×1 → means over rows × columns cells → L2."""

    def __init__(self, settings: ConvAPSettings, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, settings.channels, kernel_size=1)
        self.cells = nn.AdaptiveAvgPool2d((settings.rows, settings.columns))

    def forward(self, features: Tensor) -> Tensor:
        """[B, D, H, W] to unit vectors [B, channels·rows·columns], channel-major."""
        return F.normalize(self.cells(self.conv(features)).flatten(1), dim=1)
