"""ConvAP, the head of GSV-Cities (Ali-bey et al., 2022)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vprlib.model.heads.settings import ConvAPSettings


class ConvAP(nn.Module):
    """Convolution 1×1 → means over rows × columns cells → L2."""

    def __init__(self, settings: ConvAPSettings, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, settings.channels, kernel_size=1)
        self.cells = settings.rows, settings.columns

    def forward(self, features: Tensor) -> Tensor:
        """[B, D, H, W] to unit vectors [B, channels·rows·columns], channel-major."""
        x = self.conv(features)
        rows, columns = (
            _cells(side, count) for side, count in zip(x.shape[2:], self.cells, strict=True)
        )
        means = [x[:, :, row, column].mean(dim=(2, 3)) for row in rows for column in columns]
        return F.normalize(torch.stack(means, dim=2).flatten(1), dim=1)


def _cells(side: int, count: int) -> list[slice]:
    """As PyTorch's adaptive pooling, which cannot be exported for images of any size."""
    return [slice(n * side // count, ((n + 1) * side + count - 1) // count) for n in range(count)]
