"""Dropout of the pool, on while gradients are computed, from random draws that can be repeated."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn


@contextmanager
def dropping_out(pool: nn.Module, draw: np.random.Generator) -> Iterator[None]:
    """Inside, the dropout of the pool depends on `draw` alone; the global generator is kept."""
    if not any(isinstance(layer, nn.Dropout) for layer in pool.modules()):
        yield
        return
    device = next(pool.parameters()).device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(int(draw.integers(2**63)))
        pool.train()
        try:
            yield
        finally:
            pool.eval()
