"""The published sizes: DINOv2-B and the heads on it as large as they are, with random weights."""

from collections.abc import Callable
from pathlib import Path

import pytest
import rivals
import torch
from torch import nn

from vprlib.interop.networks import describe, read_network

pytestmark = pytest.mark.slow
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])


def megaloc() -> nn.Module:
    return rivals.WithLinear(rivals.Salad(768, 64, 256, 256, 512), 16_640, 8448)


@pytest.mark.parametrize(
    ("make", "wrapper", "words", "millions"),
    [
        (megaloc, "model.", "MegaLoc): dinov2_vitb14 (norm), salad, 8448", 228.6),
        (
            lambda: rivals.Salad(768, 64, 128, 256, 512),
            "model.",
            "SALAD): dinov2_vitb14 (norm), salad, 8448",
            88.0,
        ),
        (
            lambda: rivals.BoQ(768, 384, 64, 2, 32),
            "dino.",
            "BoQ): dinov2_vitb14 (block11), boq, 12288",
            95.2,
        ),
    ],
)
def test_a_network_of_published_size_gives_its_twins_descriptors(
    tmp_path: Path, make: Callable[[], nn.Module], wrapper: str, words: str, millions: float
) -> None:
    pytest.importorskip("timm")
    dino, head = rivals.randomised(rivals.Dino(768, 12, 37), seed=5), rivals.randomised(make())
    state = {f"backbone.{wrapper}{name}": t for name, t in dino.state_dict().items()}
    state |= {f"aggregator.{name}": t for name, t in head.state_dict().items()}
    torch.save(state, tmp_path / "f.pth")
    del state
    network = read_network(tmp_path / "f.pth")
    assert describe(network) == f"published network ({words} dimensions"
    count = sum(p.numel() for p in network.model.parameters())
    assert count / 1e6 == pytest.approx(millions, abs=0.05)
    pixels = torch.randint(0, 256, (1, 322, 322, 3), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        images = ((pixels / 255 - MEAN) / STD).permute(0, 3, 1, 2)
        maps, token = dino(images, has_norm=wrapper == "model.")
        expected = head((maps, token) if wrapper == "model." else maps)
        found = network.model(pixels.byte())
    assert (found - expected).norm() < 1e-5
