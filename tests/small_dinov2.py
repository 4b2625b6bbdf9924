"""A DINOv2 of two blocks, 64 channels wide, under the name of a large one."""

import pytest
import rivals
import torch
from torch import nn

from vprlib.model import dinov2

NAME = "dinov2_vitb14"
DIM, GRID = 64, 5  # channels, and patches a side that it was trained at


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    timm = pytest.importorskip("timm")

    def whole(name: str) -> nn.Module:
        form = {"img_size": 14 * GRID, "patch_size": 14, "embed_dim": DIM, "depth": 2}
        form |= {"num_heads": 1, "init_values": 0.5, "num_classes": 0, "dynamic_img_size": True}
        with torch.device("meta"):
            return timm.models.VisionTransformer(**form).eval()

    monkeypatch.setitem(dinov2.NETWORKS, NAME, ("small", DIM, 2))
    monkeypatch.setattr(dinov2, "_whole", whole)


def twin() -> rivals.Dino:
    """The original, with random weights."""
    return rivals.randomised(rivals.Dino(DIM, 2, GRID), seed=5)
