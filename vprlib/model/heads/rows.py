"""Layers over whole descriptors, whose result does not depend on the size of the batch."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

AT_ONCE = 48  # rows: a multiple of what kernels take at a time


def by_rows(layer: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    """Of as many rows [B, D] as any batch has, since kernels round the last few differently."""
    if torch.compiler.is_exporting():
        return layer(rows)
    more = max(0, AT_ONCE - len(rows))
    return layer(F.pad(rows, (0, 0, 0, more)))[: len(rows)]
