"""Dropout of a head: on while it learns, and the same after an interruption."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import small_dinov2
import torch
from torch import nn
from training import RADII, StopError, settings, weights

from vprlib.model.heads.dropout import dropping_out
from vprlib.model.heads.settings import SaladSettings
from vprlib.model.model import Architecture, PlaceModel
from vprlib.pipeline.resume import Scratch
from vprlib.pipeline.runtime import RuntimeSettings
from vprlib.train.data import TrainingData, training_data
from vprlib.train.trainer import Trainer


def salad(dropout: float) -> PlaceModel:
    pool = SaladSettings(kind="salad", clusters=4, channels=3, token=5, hidden=16, dropout=dropout)
    torch.manual_seed(3)
    return PlaceModel(Architecture(small_dinov2.NAME, "norm", pool))


@pytest.fixture
def trainer(
    data: TrainingData,
    runtime: RuntimeSettings,
    cpu: torch.device,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Trainer]:
    small_dinov2.install(monkeypatch)

    def make(folder: str, dropout: float = 0.5, **changes: object) -> Trainer:
        wanted = settings(first_layer="pool", accumulate=2, keep="last", margin=1.0, **changes)
        own = training_data(data.train, RADII, data.val, data.val_truth, wanted)
        return Trainer(salad(dropout), own, wanted, cpu, runtime, Scratch(tmp_path / folder))

    return make


def test_an_interrupted_run_ends_at_the_same_bytes(
    trainer: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(1)
    expected = weights(trainer("whole").run().model)
    left, learn = 4, Trainer._learn

    def breaking(self: Trainer, *given: object) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise StopError
        learn(self, *given)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_learn", breaking)
        with pytest.raises(StopError):
            trainer("broken").run()
    torch.manual_seed(2)  # the global generator plays no part
    resumed = trainer("broken")
    assert (resumed.state.epoch, resumed.state.block) != (0, 0)
    assert weights(resumed.run().model) == expected


def test_dropout_and_its_seed_matter(trainer: Callable[..., Trainer]) -> None:
    found = [
        weights(trainer(name, **changes).run().model)["pool.score.0.weight"]
        for name, changes in (("a", {}), ("b", {"dropout": 0.0}), ("c", {"seed": 2}))
    ]
    assert len(set(found)) == 3


def test_draws_depend_on_their_generator_alone() -> None:
    pool = nn.Sequential(nn.Dropout(0.5), nn.Linear(40, 1)).eval()
    x, before = torch.ones(1, 40), torch.get_rng_state()
    found = []
    for seed in (1, 1, 2):
        with dropping_out(pool, np.random.default_rng(seed)):
            assert pool.training
            found.append(pool(x).item())
        assert not pool.training
    assert found[0] == found[1] != found[2]
    assert torch.equal(torch.get_rng_state(), before)


def test_a_pool_without_dropout_is_left_alone() -> None:
    pool = nn.Sequential(nn.Linear(2, 1)).eval()
    with dropping_out(pool, np.random.default_rng(1)):
        assert not pool.training
