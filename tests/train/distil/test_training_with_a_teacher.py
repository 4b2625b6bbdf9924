"""Training of a student: resumed, cached, logged and validated as other kinds are."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from training import ASKED, PLACES, VIEWS, a_model, weights, whole_and_broken_off

from vprlib.model.describe import network_output
from vprlib.pipeline.cache import NO_CACHE, Cache
from vprlib.pipeline.params import UserError
from vprlib.pipeline.resume import Scratch
from vprlib.pipeline.runtime import RuntimeSettings
from vprlib.train.data import TrainingData
from vprlib.train.distil import descriptors
from vprlib.train.distil.losses import student_loss
from vprlib.train.distil.teacher import Teacher, taught_images
from vprlib.train.log import sentence, summarise
from vprlib.train.places import planned
from vprlib.train.settings import DistilSettings
from vprlib.train.trainer import Trainer

MakeTrainer = Callable[..., Trainer]
ALL = PLACES * (VIEWS + ASKED)


def settings(**changes: object) -> DistilSettings:
    quick = {
        "teacher": "big",
        "epochs": 2,
        "precision": "float32",
        "first_layer": "conv4",
        "learning_rate": 0.01,
        "images_a_batch": 5,
        "images_a_pass": 2,
        "schedule": {"kind": "steps", "warm_up": 2},
    }
    return DistilSettings(kind="distil", **quick | changes)


def a_teacher(clusters: int = 6) -> Teacher:
    return Teacher("big", a_model(clusters=clusters), "its digest")


def taught(data: TrainingData, wanted: DistilSettings, teacher: Teacher) -> TrainingData:
    queries = data.train.queries.index if wanted.train_images == "all" else None
    return replace(data, candidates=taught_images(teacher, data.train.database.index, queries))


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

    def make(
        folder: str = "scratch",
        cache: Cache = NO_CACHE,
        teacher: Teacher | None = None,
        **changes: object,
    ) -> Trainer:
        wanted, kept = settings(**changes), Scratch(tmp_path / folder)
        own = taught(data, wanted, teacher or a_teacher())
        return Trainer(a_model(), own, wanted, cpu, runtime, kept, cache)

    return make


def rows_learnt(running: Trainer, monkeypatch: pytest.MonkeyPatch) -> dict[int, list[int]]:
    """The images of each epoch of a run, in the order in which they are learnt from."""
    seen, whole = {}, running._learn

    def learn(step, *others):
        seen.setdefault(running.state.epoch, []).extend(step.rows.tolist())
        whole(step, *others)

    monkeypatch.setattr(running, "_learn", learn)
    running.run()
    return seen


@pytest.mark.parametrize("batches", ["alike", "random"])
def test_each_epoch_learns_from_each_image_once(
    trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch, batches: str
) -> None:
    seen = rows_learnt(trainer(batches=batches), monkeypatch)
    assert sorted(seen[1]) == sorted(seen[2]) == list(range(ALL))
    assert seen[1] != seen[2]


def test_only_the_database_is_learnt_from_if_asked(
    trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = rows_learnt(trainer(train_images="database"), monkeypatch)
    assert sorted(seen[1]) == list(range(PLACES * VIEWS))


def test_images_that_cannot_be_read_are_left_out_and_counted(
    data: TrainingData, trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    data.train.database.index.digests[3] = -1
    data.train.queries.index.digests[0] = -1
    running = trainer()
    seen = rows_learnt(running, monkeypatch)
    assert sorted(seen[1]) == sorted({*range(ALL)} - {3, PLACES * VIEWS})
    summary = summarise(running.run(), running.data, "float32")
    assert (summary["images"], summary["images_unread"]) == (ALL - 2, 2)
    assert sentence(summary).endswith(f"; {ALL - 2} images learnt from, 2 unreadable")
    data.train.database.index.digests[:] = -1
    with pytest.raises(UserError, match=r"train-db has 0 images that can be read, but a student"):
        trainer(train_images="database")


def test_nothing_is_asked_of_positions(data: TrainingData, trainer: MakeTrainer) -> None:
    expected = trainer("there").run()
    for side in (data.train.database, data.train.queries):
        side.index.positions[:] = np.nan
    found = trainer("nowhere").run()
    assert found.log == expected.log and weights(found.model) == weights(expected.model)


def test_a_student_comes_nearer_to_its_teacher(trainer: MakeTrainer) -> None:
    outcome = trainer(epochs=6, optimizer="adamw", learning_rate=0.001).run()
    losses = [row.loss for row in outcome.log[1:]]
    assert losses[-1] < 0.9 * losses[0]
    assert outcome.log[0].recalls and outcome.log[0].loss is None
    assert {row.violating for row in outcome.log} == {None}


def test_a_teacher_of_its_own_length_gives_descriptors_too(trainer: MakeTrainer) -> None:
    wanted = {"loss": {"descriptors": 1.0, "similarities": 0.0}}
    itself = trainer(teacher=a_teacher(4), **wanted).run()
    assert itself.log[1].loss < 1e-3  # what it starts as is its teacher
    with pytest.raises(UserError, match=r"loss.descriptors is 1, but the student has .* set it to"):
        trainer("other", **wanted)


def test_the_loss_of_a_step_is_that_of_its_images_at_once(
    data: TrainingData, trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    running, given = trainer(), []
    whole = running.gradients.compute
    model, teacher = a_model(), a_teacher().network

    def compute(step, *others):
        found = whole(step, *others)
        given.append((step.rows, found))
        return found

    object.__setattr__(running.gradients, "compute", compute)
    monkeypatch.setattr(running.optimizer, "step", lambda: None)
    running.run()
    rows, loss = given[0]
    sides = (data.train.database, data.train.queries)
    where = [divmod(row, PLACES * VIEWS) for row in rows.tolist()]
    pixels = [sides[side].pixels(row) for side, row in where]
    images = torch.from_numpy(np.stack(pixels))
    with torch.no_grad():
        both = (network_output(network, images) for network in (model, teacher))
        expected = student_loss(*both, running.settings.loss)
    assert len(rows) == 5 and loss.terms == 5
    assert loss.total == pytest.approx(5 * expected.item(), rel=1e-3)


KINDS = [
    {},
    {"batches": "random", "train_images": "database", "images_a_pass": 100},
    {"randaugment": {"operations": 2}, "optimizer": "adamw", "validate_every": 2},
]
STOPS = [("_learn", 4), ("_save", 3), ("_validate", 1), ("_mine", 2), ("_run_epoch", 2)]


@pytest.mark.parametrize("changes", KINDS)
@pytest.mark.parametrize("stop", STOPS)
def test_an_interrupted_run_ends_as_one_that_was_not(
    trainer: MakeTrainer,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, object],
    stop: tuple[str, int],
) -> None:
    whole_and_broken_off(monkeypatch, stop, trainer, changes)


@pytest.mark.parametrize("changes", [{}, {"first_layer": "conv1"}, {"randaugment": {}}])
def test_the_cache_changes_no_byte(
    trainer: MakeTrainer, tmp_path: Path, changes: dict[str, object]
) -> None:
    expected = trainer("plain", **changes).run()
    cache = Cache(tmp_path / "cache", 2**30, lambda sentence: None)
    for folder in ("empty", "full"):
        found = trainer(folder, cache=cache, **changes).run()
        assert found.log == expected.log and weights(found.model) == weights(expected.model)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images the teacher described, each time that it was asked."""
    counts, plan = [], descriptors.plan_batches

    def planned(sizes, rows):
        counts.append(len(rows))
        return plan(sizes, rows)

    monkeypatch.setattr(descriptors, "plan_batches", planned)
    return counts


def test_the_teacher_describes_each_image_once(
    trainer: MakeTrainer, tmp_path: Path, asked: list[int]
) -> None:
    cache = Cache(tmp_path / "cache", 2**30, lambda sentence: None)
    trainer("one", cache).run()
    assert asked == [PLACES * VIEWS, PLACES * ASKED]
    trainer("two", cache, learning_rate=0.02, images_a_batch=7, seed=2).run()
    assert asked[2:] == [0, 0]
    trainer("another", cache, teacher=replace(a_teacher(), digest="another")).run()
    assert asked[4:] == asked[:2]
    trainer("without").run()
    assert asked[6:] == asked[:2]


def test_a_teacher_that_was_interrupted_goes_on(
    data: TrainingData,
    trainer: MakeTrainer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    asked: list[int],
) -> None:
    cache = Cache(tmp_path / "cache", 2**30, lambda sentence: None)
    whole, put = trainer("whole").run(), descriptors.CacheFile.put

    def fail(file, row, values):
        if row == 4 and file.spec.what.endswith("by big"):
            raise KeyboardInterrupt
        put(file, row, values)

    with monkeypatch.context() as patch:
        patch.setattr(descriptors.CacheFile, "put", fail)
        with pytest.raises(KeyboardInterrupt):
            trainer("broken", cache).run()
    del asked[:]
    found = trainer("broken", cache).run()
    assert asked == [PLACES * VIEWS - 4, PLACES * ASKED]
    assert found.log == whole.log and weights(found.model) == weights(whole.model)


def test_a_damaged_descriptor_is_computed_again(
    trainer: MakeTrainer, tmp_path: Path, asked: list[int]
) -> None:
    cache = Cache(tmp_path / "cache", 2**30, lambda sentence: None)
    expected = trainer("one", cache).run()
    entry = next(e for e in cache.folder.iterdir() if "db by big" in (e / "about.json").read_text())
    values = np.memmap(entry / "values", np.uint8, "r+")
    values[100] ^= 1
    values.flush()
    found = trainer("two", cache).run()
    assert asked[2:] == [1, 0]
    assert found.log == expected.log
