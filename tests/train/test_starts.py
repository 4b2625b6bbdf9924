"""What training starts from: networks from elsewhere, with or without their whitening."""

from pathlib import Path

import pytest
import torch

from vprlib.interop.networks import load_network
from vprlib.model.model import Architecture, PlaceModel, read_model, write_model
from vprlib.model.settings import PoolSettings
from vprlib.pipeline.params import UserError


def a_model(slim: str, whitening: int | None = None, kind: str = "netvlad") -> PlaceModel:
    torch.manual_seed(1)
    clusters = 4 if kind == "netvlad" else 0
    return PlaceModel(Architecture(slim, "conv5", PoolSettings(kind=kind), clusters, whitening))


def test_a_network_is_loaded_with_its_history(slim: str, tmp_path: Path) -> None:
    model = a_model(slim, kind="gem")
    model.pool.p.data.fill_(2.5)  # learnt, and kept
    write_model(tmp_path / "m", model, {"epoch": 7})
    network = load_network(tmp_path / "m", "keep")
    assert network.history == {"epoch": 7}
    assert network.model.architecture == model.architecture
    assert float(read_model(tmp_path / "m").pool.p) == 2.5


def test_its_own_whitening_is_kept_or_dropped(slim: str, tmp_path: Path) -> None:
    model = a_model(slim, whitening=5)
    write_model(tmp_path / "m", model, {})
    kept, dropped = (load_network(tmp_path / "m", what).model for what in ("keep", "drop"))
    assert torch.equal(kept.whitening.weight, model.whitening.weight)
    assert not kept.whitening.weight.requires_grad
    assert (kept.dim, dropped.dim, dropped.whitening) == (5, 32, None)
    assert torch.equal(dropped.pool.centroids, model.pool.centroids)


def test_a_file_that_is_no_network_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "m").write_text("no network at all")
    with pytest.raises(UserError, match="m should be a safetensors file"):
        load_network(tmp_path / "m", "keep")
