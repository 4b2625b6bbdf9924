"""Training on places: resumed, cached, logged and validated as with triplets."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from training import ASKED, PLACES, RADII, VIEWS, a_model, weights, whole_and_broken_off

from vprlib.pipeline.cache import NO_CACHE, Cache
from vprlib.pipeline.params import UserError
from vprlib.pipeline.resume import Scratch
from vprlib.pipeline.runtime import RuntimeSettings
from vprlib.places.geo import pairs_of
from vprlib.places.truth import Listed
from vprlib.train.data import TrainingData, training_data
from vprlib.train.log import sentence, summarise
from vprlib.train.places import planned
from vprlib.train.places.gradients import Batch
from vprlib.train.settings import PlacesSettings
from vprlib.train.trainer import Trainer

MakeTrainer = Callable[..., Trainer]
ALL = PLACES * (VIEWS + ASKED)


def settings(**changes: object) -> PlacesSettings:
    quick = {
        "epochs": 2,
        "precision": "float32",
        "first_layer": "conv4",
        "learning_rate": 0.01,
        "labels": {"kind": "cliques"},
        "images_a_place": 2,
        "places_a_batch": 3,
        "images_a_pass": 4,
        "schedule": {"kind": "steps", "warm_up": 2},
    }
    return PlacesSettings(kind="places", **quick | changes)


@pytest.fixture
def trainer(
    data: TrainingData,
    slim: str,
    runtime: RuntimeSettings,
    cpu: torch.device,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> MakeTrainer:
    monkeypatch.setattr(planned, "STEPS_A_BLOCK", 2)

    def make(folder: str = "scratch", cache: Cache = NO_CACHE, **changes: object) -> Trainer:
        wanted, kept = settings(**changes), Scratch(tmp_path / folder)
        own = training_data(data.train, RADII, data.val, data.val_truth, wanted)
        return Trainer(a_model(), own, wanted, cpu, runtime, kept, cache)

    return make


def batches_of(running: Trainer, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, Batch]]:
    """The batches that a run learns from, with their epochs."""
    seen, whole = [], running._learn
    monkeypatch.setattr(
        running,
        "_learn",
        lambda step, *o: (seen.append((running.state.epoch, step)), whole(step, *o)),
    )
    running.run()
    return seen


def test_each_epoch_learns_from_each_place_once(
    trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = trainer()
    seen = batches_of(running, monkeypatch)
    places = {1: [], 2: []}
    for epoch, batch in seen:
        assert len(batch.rows) <= 6 and max(map(len, batch.parts)) <= 4
        places[epoch] += batch.rows.reshape(-1, 2).tolist()
    for found in places.values():
        rows = np.array(found).ravel()
        assert len(set(rows.tolist())) == len(rows) >= ALL - PLACES - 2
        is_database = rows < PLACES * VIEWS
        where = np.where(is_database, rows // VIEWS, (rows - PLACES * VIEWS) // ASKED)
        assert (where.reshape(-1, 2)[:, 0] == where.reshape(-1, 2)[:, 1]).all()
        assert not is_database.all()
    assert places[1] != places[2]


def test_only_the_database_is_learnt_from_if_asked(
    trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = batches_of(trainer(train_images="database"), monkeypatch)
    assert max(batch.rows.max() for _, batch in seen) < PLACES * VIEWS


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_training_changes_what_learns_and_gives_the_same_again(
    trainer: MakeTrainer, optimizer: str
) -> None:
    runs = [trainer(name, optimizer=optimizer) for name in ("a", "b")]
    one, other = (run.run() for run in runs)
    assert one.log == other.log and weights(one.model) == weights(other.model)
    start = a_model().state_dict()
    moved = {name for name, t in runs[0].state.weights.items() if t.ne(start[name]).any()}
    assert moved == {
        *(f"backbone.{layer}.{kind}" for layer in (8, 10) for kind in ("weight", "bias")),
        "pool.conv.weight",
        "pool.centroids",
    }
    assert [row.epoch for row in one.log] == [0, 1, 2]
    assert one.log[0].recalls and one.log[0].loss is None
    for row in one.log[1:]:
        assert row.loss > 0 and 0 < row.violating <= 1 and row.rank_loss is not None


KINDS = [
    {},
    {"labels": {"kind": "cells", "cell_m": 50.0}, "batches": "random", "places_a_batch": 2},
    {"flip": 0.5, "randaugment": {"operations": 2}, "optimizer": "adamw"},
    {"schedule": {"kind": "linear", "steps": 8}, "validate_every": 2, "images_a_pass": 100},
]
STOPS = [("_learn", 4), ("_save", 3)]
MORE_STOPS = [("_validate", 1), ("_mine", 2), ("_run_epoch", 2)]


@pytest.mark.parametrize(
    ("changes", "stop"),
    [*itertools.product(KINDS, STOPS), *(({}, stop) for stop in MORE_STOPS)],
)
def test_an_interrupted_run_ends_as_one_that_was_not(
    trainer: MakeTrainer,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, object],
    stop: tuple[str, int],
) -> None:
    whole, resumed = whole_and_broken_off(monkeypatch, stop, trainer, changes)
    last = whole.state.weights
    assert all(torch.equal(t, last[name]) for name, t in resumed.state.weights.items())


@pytest.mark.parametrize("changes", [{}, {"flip": 0.5}, {"first_layer": "conv1"}])
def test_the_cache_changes_no_byte(
    trainer: MakeTrainer, tmp_path: Path, changes: dict[str, object]
) -> None:
    expected = trainer("plain", **changes).run()
    cache = Cache(tmp_path / "cache", 2**30, lambda sentence: None)
    for folder in ("empty", "full"):
        found = trainer(folder, cache=cache, **changes).run()
        assert found.log == expected.log and weights(found.model) == weights(expected.model)


def test_random_places_and_batches_describe_no_training_image(trainer: MakeTrainer) -> None:
    running, described = (
        trainer(labels={"kind": "cliques", "members": "random"}, batches="random"),
        set(),
    )
    whole = running._describe
    running._describe = lambda name, *others: (described.add(name), whole(name, *others))[1]
    running.run()
    assert described == {"val-queries", "val-database"}


def test_the_rate_is_that_of_the_schedule_at_each_step(
    trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    running, seen = trainer(schedule={"kind": "linear", "steps": 4, "end": 0.5}), []
    step = running.optimizer.step
    monkeypatch.setattr(
        running.optimizer,
        "step",
        lambda: (seen.append(running.optimizer.param_groups[0]["lr"]), step()),
    )
    outcome = running.run()
    assert seen[:5] == pytest.approx([0.01, 0.00875, 0.0075, 0.00625, 0.005])
    assert outcome.log[-1].learning_rate == seen[-1]


def test_what_is_left_out_is_counted_and_said(data: TrainingData, trainer: MakeTrainer) -> None:
    data.train.database.index.positions[0] += 5000.0
    running = trainer(epochs=0)
    summary = summarise(running.run(), running.data, "float32")
    assert (summary["images"], summary["images_left_out"]) == (ALL - 1, 1)
    assert sentence(summary).endswith("; 1 images left out, which are in no place")


def test_what_no_place_can_be_made_of_is_a_sentence(data: TrainingData) -> None:
    given = (data.train, RADII, data.val, data.val_truth)
    with pytest.raises(
        UserError, match=r"train-db has fewer than two places .* of 6 images within"
    ):
        training_data(*given, settings(images_a_place=6))
    with pytest.raises(UserError, match=r"fewer than two places that are over 1000 m apart"):
        training_data(*given, settings(negative_radius_m=1000.0))
    turned = {"kind": "cliques", "heading_deg": 40}
    with pytest.raises(UserError, match=r"heading_deg is 40, but no image of train-db has a headi"):
        training_data(*given, settings(labels=turned))
    none = pairs_of([np.zeros(0, np.int64)] * (PLACES * ASKED))
    with pytest.raises(UserError, match=r"kind is 'places', but train-db lists right images"):
        training_data(*given, settings(), Listed(none, none, none, PLACES * VIEWS))


def test_images_turned_away_from_each_other_are_no_place(data: TrainingData) -> None:
    sides = [
        replace(
            side, index=replace(side.index, extra={"heading": np.arange(len(side.index)) * 90.0})
        )
        for side in (data.train.database, data.train.queries)
    ]
    own = replace(data.train, database=sides[0], queries=sides[1])
    turned = {"kind": "cliques", "heading_deg": 40}
    found = training_data(own, RADII, data.val, data.val_truth, settings(labels=turned)).candidates
    drawn = found.labels.draw(1, 1, None)
    assert (
        len(drawn)
        and (
            found.shots.headings[drawn[:, 0]] % 360 == found.shots.headings[drawn[:, 1]] % 360
        ).all()
    )
