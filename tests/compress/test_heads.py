"""What can be made smaller of a network with a head, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch

from vprlib.compress.int8 import quantised
from vprlib.compress.pruning import check_prunable, sparsify
from vprlib.model.heads.settings import GemFCSettings
from vprlib.model.model import Architecture, PlaceModel, read_model, write_model
from vprlib.model.packing import Form
from vprlib.pipeline.params import UserError


def a_model(slim: str, size: tuple[int, int] | None = None) -> PlaceModel:
    torch.manual_seed(1)
    pool = GemFCSettings(kind="gem_fc", dimensions=6)
    return PlaceModel(Architecture(slim, "conv5", pool, size=size))


def images() -> list[torch.Tensor]:
    values = np.random.default_rng(1).integers(0, 256, (2, 64, 80, 3), dtype=np.uint8)
    return [torch.from_numpy(values)]


def test_a_head_is_kept_in_16_bits_and_without_zeros(slim: str, tmp_path: Path) -> None:
    model = a_model(slim)
    smaller = {
        "half": (model, Form("float16")),
        "sparse": (sparsify(model, 0.5), Form(leaves_out_zeros=True)),
    }
    for name, (made, form) in smaller.items():
        write_model(tmp_path / name, made, {}, form)
        again = read_model(tmp_path / name)
        assert again.architecture.pool == model.architecture.pool
        with torch.no_grad():
            found, expected = again(images()[0]), made(images()[0])
        torch.testing.assert_close(found, expected, atol=2e-3, rtol=0)


def test_a_head_cannot_lose_channels(slim: str) -> None:
    with pytest.raises(UserError, match="the pool gem_fc cannot lose channels: prune a network"):
        check_prunable(a_model(slim))


@pytest.mark.slow
def test_a_head_behind_integers_stays_near_also_where_images_are_resized(slim: str) -> None:
    pytest.importorskip("onnxscript")
    model = a_model(slim, (64, 64))
    network = quantised(model, lambda: [x.numpy() for x in images()], 1)
    with torch.no_grad():
        assert (network(images()[0]) * model(images()[0])).sum(dim=1).min() > 0.98
