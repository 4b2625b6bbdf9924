"""The class token of a vision transformer in a row of its own above the feature map."""

import torch.nn.functional as F
from torch import Tensor


def with_token(token: Tensor, maps: Tensor) -> Tensor:
    """[B, D] and [B, D, H, W] to [B, D, 1 + H, W]; the rest of the first row is zero."""
    return F.pad(maps, (0, 0, 1, 0)) + F.pad(
        token[:, :, None, None], (0, maps.shape[3] - 1, 0, maps.shape[2])
    )


def without_token(maps: Tensor) -> tuple[Tensor, Tensor]:
    """The token [B, D] and the map [B, D, H, W] again."""
    return maps[:, :, 0, 0], maps[:, :, 1:]
