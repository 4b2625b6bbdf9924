"""Training: goes on where it was interrupted, keeps the best epoch, freezes what it should."""

import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from training import (
    ASKED,
    PLACES,
    RADII,
    VIEWS,
    StopError,
    a_model,
    broken_off,
    settings,
    weights,
    whole_and_broken_off,
)

from vprlib.images.batches import ImageSource
from vprlib.model.model import Architecture, PlaceModel
from vprlib.model.settings import PoolSettings
from vprlib.pipeline.cache import NO_CACHE, Cache
from vprlib.pipeline.params import UserError
from vprlib.pipeline.resume import Scratch
from vprlib.pipeline.runtime import RuntimeSettings
from vprlib.places.truth import Near
from vprlib.train import gradients, log, mining
from vprlib.train.augmentation import changed
from vprlib.train.data import Split, TrainingData, epoch_blocks, training_data
from vprlib.train.frozen import LoadedImage, SplitNetwork
from vprlib.train.gradients import StepGradients, database_images
from vprlib.train.log import EpochLog, Outcome
from vprlib.train.losses import triplet_loss
from vprlib.train.mining import Candidates, Mined, Pool, Tuple
from vprlib.train.settings import TrainSettings
from vprlib.train.trainer import Trainer, make_optimizer

MakeTrainer = Callable[..., Trainer]


def wordless(kind: str) -> PlaceModel:
    model = PlaceModel(Architecture("alexnet", "conv5", PoolSettings(kind=kind)))
    model.backbone.load_state_dict(a_model().backbone.state_dict())
    return model


@pytest.fixture
def trainer(
    data: TrainingData, slim: str, runtime: RuntimeSettings, cpu: torch.device, tmp_path: Path
) -> MakeTrainer:
    """Trains on the data that the settings ask for."""

    def make(
        folder: str = "scratch",
        cache: Cache = NO_CACHE,
        model: PlaceModel | None = None,
        **changes: object,
    ) -> Trainer:
        wanted, kept = settings(**changes), Scratch(tmp_path / folder)
        own = training_data(data.train, RADII, data.val, data.val_truth, wanted)
        return Trainer(model or a_model(), own, wanted, cpu, runtime, kept, cache)

    return make


def learnt(running: Trainer) -> set[str]:
    """The tensors that a run changes."""
    before = weights(running.model)
    running.run()
    after = {name: t.numpy().tobytes() for name, t in running.state.weights.items()}
    return {name for name in before if before[name] != after[name]}


def assert_same(running: Trainer, outcome: Outcome, twin: Trainer, expected: Outcome) -> None:
    """The log, the best and the last weights, and what is remembered."""
    assert outcome.log == expected.log
    assert weights(outcome.model) == weights(expected.model)
    assert_same_state(running, twin)


def assert_same_state(running: Trainer, twin: Trainer) -> None:
    assert torch.equal(running.state.memory, twin.state.memory)
    last = twin.state.weights
    assert all(torch.equal(t, last[name]) for name, t in running.state.weights.items())


def recalls(r5: float, r1: float = 0.0) -> dict[str, float]:
    return {"recall@1": r1, "recall@5": r5, "recall@10": r5, "recall@20": r5}


def test_no_epochs_copy_the_start_exactly(trainer: MakeTrainer) -> None:
    outcome = trainer(epochs=0).run()
    assert weights(outcome.model) == weights(a_model())
    assert [row.epoch for row in outcome.log] == [0]
    assert outcome.best == outcome.log[0]
    assert (outcome.best.loss, outcome.best.learning_rate) == (None, None)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_training_changes_the_weights_and_gives_the_same_ones_again(
    trainer: MakeTrainer, optimizer: str
) -> None:
    one, again = (trainer(folder, optimizer=optimizer) for folder in ("a", "b"))
    outcomes = [one.run(), again.run()]
    assert outcomes[0].log == outcomes[1].log
    assert weights(outcomes[0].model) == weights(outcomes[1].model)
    assert one.state.weights["backbone.8.weight"].ne(a_model().backbone[8].weight).any()
    assert [row.epoch for row in outcomes[0].log] == [0, 1, 2]
    assert outcomes[0].log[1].loss > 0


def test_the_real_alexnet_learns_for_an_epoch(
    data: TrainingData, runtime: RuntimeSettings, cpu: torch.device, tmp_path: Path
) -> None:
    quick = settings(epochs=1, first_layer="conv5", refresh_queries=0, negatives=2)
    trainer = Trainer(a_model(), data, quick, cpu, runtime, Scratch(tmp_path / "s"))
    assert learnt(trainer) == {
        "backbone.10.weight",
        "backbone.10.bias",
        "pool.conv.weight",
        "pool.centroids",
    }
    assert [row.epoch for row in trainer.state.rows()] == [0, 1]


STORED = [
    {"first_layer": "conv4"},
    {"first_layer": "conv1"},
    {"first_layer": "pool", "stored": "bfloat16", "mining": "partial"},
    {"first_layer": "conv5", "stored": "float16", "flip": 0.5, "jitter": (0.8, 1.2)},
]


@pytest.mark.parametrize("changes", STORED)
def test_the_cache_changes_no_byte_of_a_run(
    trainer: MakeTrainer, tmp_path: Path, changes: dict[str, object]
) -> None:
    plain = trainer("plain", **changes)
    expected = plain.run()
    cache = Cache(tmp_path / "cache", 2**30, lambda sentence: None)
    for folder in ("empty", "full"):  # what the first run leaves, the second finds
        stored = trainer(folder, cache=cache, **changes)
        assert_same(stored, stored.run(), plain, expected)
    file = stored.inputs.sources["database"].file
    assert all(file.get(row) is not None for row in range(PLACES * VIEWS)) or "mining" in changes


def test_a_run_that_is_resumed_finds_the_cache(
    trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cache = Cache(tmp_path / "cache", 2**30, lambda sentence: None)
    expected = trainer("whole").run()
    outcome = broken_off(monkeypatch, "_learn", 2, lambda: trainer("broken", cache=cache)).run()
    assert weights(outcome.model) == weights(expected.model)


def test_bfloat16_learns_what_float32_does_but_for_rounding(trainer: MakeTrainer) -> None:
    one, other = (trainer(p, precision=p).run() for p in ("float32", "bfloat16"))
    losses = [[row.loss for row in outcome.log[1:]] for outcome in (one, other)]
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.05)


BERLIN = {
    "train_queries": "database",
    "mining": "random",
    "positive": "random",
    "negatives": 1,
    "queries_a_step": 1,
    "accumulate": 4,
    "exclude_same_spot": False,
}
CHANGED = {"flip": 0.5, "jitter": (0.8, 1.2), "accumulate": 2, "skip_hardest": 1}
RARELY = {"epochs": 4, "validate_every": 3, "learning_rate_factor": 0.3, "learning_rate_step": 2}
STOPS = [
    ("_validate", 1),  # before anything is kept
    ("_validate", 2),  # at the end of the first epoch
    ("_mine", 2),  # between two blocks
    ("_learn", 1),
    ("_learn", 4),  # within a later block
    ("_remember", 7),
    ("_save", 3),
    ("_run_epoch", 2),
]
LATER_STOPS = [("_mine", 2), ("_learn", 3), ("_add_part", 6), ("_save", 3)]


@pytest.mark.parametrize(
    ("changes", "stop"),
    [
        *itertools.product([{"optimizer": "sgd"}, {"optimizer": "adam"}], STOPS),
        *itertools.product([BERLIN, CHANGED, {"mining": "partial", "flip": 1.0}], LATER_STOPS),
        *((RARELY, stop) for stop in (("_validate", 2), ("_learn", 5), ("_run_epoch", 3))),
    ],
)
def test_an_interrupted_run_of_each_kind_ends_as_one_that_was_not(
    trainer: MakeTrainer,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, object],
    stop: tuple[str, int],
) -> None:
    whole, resumed = whole_and_broken_off(monkeypatch, stop, trainer, changes)
    assert_same_state(resumed, whole)
    start = a_model().state_dict()
    assert any(whole.state.weights[name].ne(tensor).any() for name, tensor in start.items())


@pytest.mark.parametrize("epoch", [0, 1, 2])
def test_a_run_interrupted_between_epochs_hears_of_each_epoch_again(
    trainer: MakeTrainer, epoch: int
) -> None:
    expected = trainer("whole").run()

    def stop(row: EpochLog) -> None:
        if row.epoch == epoch:
            raise StopError

    with pytest.raises(StopError):
        trainer("broken").run(stop)
    heard = []
    outcome = trainer("broken").run(heard.append)
    assert heard == outcome.log == expected.log
    assert weights(outcome.model) == weights(expected.model)


def test_a_finished_run_called_again_gives_the_same_outcome(trainer: MakeTrainer) -> None:
    first, again = trainer().run(), trainer().run()
    assert again.log == first.log
    assert weights(again.model) == weights(first.model)


def test_the_hardest_negatives_of_each_query_are_kept(trainer: MakeTrainer) -> None:
    running = trainer(epochs=1)
    assert (running.state.memory == -1).all()
    running.run()
    hardest = running.state.memory
    assert hardest.shape == (PLACES * ASKED, 3)
    assert (hardest >= 0).all()
    for query, rows in enumerate(hardest.tolist()):
        assert len(set(rows)) == 3
        assert all(row // VIEWS != query // ASKED for row in rows)


def test_what_was_hardest_is_handed_to_the_next_epoch(
    trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    handed, kept = {}, {}
    whole, whole_pool = mining.mine_block, mining.pool_of

    def pool(query: int, allowed: Candidates, remembered: np.ndarray, *others: object) -> Pool:
        handed[running.state.epoch, query] = remembered.tolist()
        return whole_pool(query, allowed, remembered, *others)

    def listening(pools: Iterator[Pool], *others: object) -> Iterator[Mined]:
        pools = list(pools)
        for pool, found in zip(pools, whole(pools, *others), strict=True):
            kept[running.state.epoch, pool.query] = found.hardest.tolist()
            yield found

    monkeypatch.setattr(mining, "pool_of", pool)
    monkeypatch.setattr(mining, "mine_block", listening)
    running = trainer()
    running.run()
    for query in range(PLACES * ASKED):
        assert handed[1, query] == [-1, -1, -1]
        assert handed[2, query] == kept[1, query]


def test_each_epoch_counts_its_own_triplets(
    trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = {1: [0, 0], 2: [0, 0]}  # violating, looked at
    losses: dict[int, list[float]] = {1: [], 2: []}
    whole = mining.mine_block
    running = trainer(margin=0.02)

    def listening(*given: object) -> Iterator[Mined]:
        for found in whole(*given):
            counts[running.state.epoch][0] += len(found.tuple.negatives) if found.tuple else 0
            counts[running.state.epoch][1] += len(found.hardest)
            yield found

    def loss(*given: object) -> torch.Tensor:
        value = triplet_loss(*given)
        losses[running.state.epoch].append(value.item() * len(given[2]))
        return value

    monkeypatch.setattr(mining, "mine_block", listening)
    monkeypatch.setattr(gradients, "triplet_loss", loss)
    for row in running.run().log[1:]:
        violating, looked_at = counts[row.epoch]
        assert row.violating == violating / looked_at
        assert row.loss == pytest.approx(sum(losses[row.epoch]) / violating)


def test_an_epoch_in_which_nothing_violates_the_margin_goes_by(
    trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = Mined(None, np.array([1, 2]))
    monkeypatch.setattr(mining, "mine_block", lambda pools, *_: (nothing for _ in pools))
    running = trainer(epochs=1)
    outcome = running.run()
    assert (outcome.log[1].loss, outcome.log[1].violating) == (0.0, 0.0)
    assert weights(running.model) == weights(a_model())


def test_the_learning_rate_is_multiplied_by_its_factor_after_every_step_of_epochs() -> None:
    halved, tenth = (
        {"learning_rate_step": 5},
        {"learning_rate_factor": 0.1, "learning_rate_step": 2},
    )
    rates = [settings(learning_rate=0.8, **halved).rate_at(epoch) for epoch in range(1, 12)]
    assert rates == [0.8] * 5 + [0.4] * 5 + [0.2]
    rates = [settings(learning_rate=2.0, **tenth).rate_at(epoch) for epoch in range(1, 6)]
    assert rates == pytest.approx([2.0, 2.0, 0.2, 0.2, 0.02])


def test_the_optimiser_uses_the_rate_of_its_epoch(trainer: MakeTrainer) -> None:
    quick = {"epochs": 3, "learning_rate_step": 2, "learning_rate_factor": 0.25}
    running, seen = trainer(learning_rate=0.01, **quick), []
    running.run(lambda row: seen.append(running.optimizer.param_groups[0]["lr"]))
    assert seen[1:] == [0.01, 0.01, 0.0025]
    assert [row.learning_rate for row in running.state.rows()] == [None, 0.01, 0.01, 0.0025]


def test_each_epoch_has_a_fresh_order_of_all_queries_from_seed_and_epoch() -> None:
    queries = np.array([3, 5, 8, 9, 11, 20, 21])
    orders = {
        (seed, epoch): np.concatenate(epoch_blocks(queries, epoch, settings(seed=seed))).tolist()
        for seed in (1, 2, 3)
        for epoch in (1, 2, 3)
    }
    assert all(sorted(order) == queries.tolist() for order in orders.values())
    assert len({tuple(order) for order in orders.values()}) == 9
    again = np.concatenate(epoch_blocks(queries, 2, settings(seed=3)))
    assert again.tolist() == orders[3, 2]


@pytest.mark.parametrize(("size", "lengths"), [(3, [3, 3, 1]), (0, [7]), (7, [7]), (100, [7])])
def test_queries_are_cut_where_descriptors_are_refreshed(size: int, lengths: list[int]) -> None:
    blocks = epoch_blocks(np.arange(7), 1, settings(refresh_queries=size))
    assert [len(block) for block in blocks] == lengths


@pytest.mark.parametrize(
    ("doubles", "size", "lengths"),
    [
        (True, 2, [[2, 2, 2, 1], [2, 2, 2, 1], [4, 3], [4, 3], [7], [7]]),
        (False, 2, [[2, 2, 2, 1]] * 6),
        (True, 0, [[7]] * 6),
    ],
)
def test_the_interval_of_refreshing_doubles_when_the_rate_steps_if_asked(
    doubles: bool, size: int, lengths: list[list[int]]
) -> None:
    wanted = settings(refresh_queries=size, refresh_doubles=doubles, learning_rate_step=2)
    blocks = [epoch_blocks(np.arange(7), epoch, wanted) for epoch in range(1, 7)]
    assert [[len(block) for block in epoch] for epoch in blocks] == lengths
    rates = [wanted.rate_at(epoch) / wanted.learning_rate for epoch in range(1, 7)]
    assert rates == [1, 1, 0.5, 0.5, 0.25, 0.25]


def test_a_loss_that_is_no_number_names_epoch_and_step(
    trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = iter(range(1, 100))

    def loss(*sides: object) -> torch.Tensor:
        return triplet_loss(*sides) * (float("nan") if next(calls) == 2 else 1.0)

    monkeypatch.setattr(gradients, "triplet_loss", loss)
    sentence = (
        r"^the loss became nan in epoch 1, step 2: .*lower train\.learning_rate \(now 0\.01\)"
    )
    with pytest.raises(UserError, match=sentence):
        trainer().run()


def test_weights_that_are_no_numbers_name_epoch_and_step(
    trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = trainer()
    whole = Trainer._learn

    def learn(self: Trainer, *args: object) -> None:
        whole(self, *args)
        self.model.pool.centroids.data[0, 0] = torch.inf

    monkeypatch.setattr(Trainer, "_learn", learn)
    with pytest.raises(UserError, match=r"^(a weight became NaN or inf|the loss.*) in epoch 1, st"):
        running.run()
    assert all(t.isfinite().all() for t in running.scratch.load()["weights"].values())


def test_a_rate_far_too_high_ends_in_a_sentence(
    trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TrainSettings, "rate_at", lambda self, epoch: 1e30)
    with pytest.raises(UserError, match=r"in epoch \d+, step \d+: the state before it is kept in"):
        trainer(epochs=5).run()


@pytest.mark.parametrize(
    ("first_layer", "layers"), [("conv5", {"10"}), ("pool", set()), ("conv4", {"8", "10"})]
)
def test_frozen_layers_keep_their_bytes(
    trainer: MakeTrainer, first_layer: str, layers: set[str]
) -> None:
    changed = learnt(trainer(first_layer=first_layer, epochs=1))
    assert {name.split(".")[1] for name in changed if name.startswith("backbone")} == layers
    assert {"pool.conv.weight", "pool.centroids"} <= changed


def test_the_exponent_of_gem_learns(trainer: MakeTrainer) -> None:
    quick = {"first_layer": "pool", "epochs": 1, "margin": 4.0}
    assert learnt(trainer(model=wordless("gem"), **quick)) == {"pool.p"}


@pytest.mark.parametrize("kind", ["average", "max"])
def test_a_pool_without_weights_leaves_learning_to_the_backbone(slim: str, kind: str) -> None:
    sentence = rf"first_layer is 'pool', but then nothing would learn: {kind} pooling has no"
    with pytest.raises(UserError, match=sentence):
        make_optimizer(wordless(kind), settings(first_layer="pool"))
    [group] = make_optimizer(wordless(kind), settings(first_layer="conv5")).param_groups
    assert [tuple(p.shape) for p in group["params"]] == [(8, 8, 3, 3), (8,)]


def test_statistics_of_batch_normalisation_keep_their_bytes(trainer: MakeTrainer) -> None:
    quick = {"epochs": 1, "first_layer": "layer4", "refresh_queries": 0, "negatives": 1}
    changed = learnt(trainer(model=a_model("resnet18"), **quick))
    assert changed
    assert not any("running_" in name or "num_batches" in name for name in changed)
    assert all(name.startswith(("backbone.layer4", "pool")) for name in changed)


def scripted(monkeypatch: pytest.MonkeyPatch, scores: list[tuple[float, float]]) -> None:
    """Validation that gives these (R@5, R@1), epoch by epoch."""
    upcoming = iter(scores)
    monkeypatch.setattr(Trainer, "_validate", lambda self: (recalls(*next(upcoming)), None))


def test_training_stops_after_so_many_epochs_without_a_better_one(
    trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(monkeypatch, [(0.1, 0), (0.5, 0), (0.4, 0), (0.5, 0), (0.9, 0)])
    outcome = trainer(epochs=20, patience=2).run()
    assert [row.epoch for row in outcome.log] == [0, 1, 2, 3]
    assert outcome.best.epoch == 1


def validated(outcome: Outcome) -> list[int]:
    return [row.epoch for row in outcome.log if row.recalls]


def test_only_each_second_epoch_is_validated_and_always_the_first_and_the_last(
    trainer: MakeTrainer,
) -> None:
    every, second = (trainer(f"{n}", epochs=5, validate_every=n).run() for n in (1, 2))
    assert validated(every) == [0, 1, 2, 3, 4, 5]
    assert validated(second) == [0, 2, 4, 5]
    for row, twin in zip(second.log, every.log, strict=True):  # training itself is the same
        assert (row.loss, row.violating) == (twin.loss, twin.violating)
        assert row.recalls in ({}, twin.recalls) and (row.rank_loss is None) == (not row.recalls)


def test_an_epoch_that_was_not_validated_is_never_the_best_and_counts_for_patience(
    trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(monkeypatch, [(0.1, 0), (0.5, 0), (0.4, 0), (0.6, 0), (0.3, 0), (0.2, 0)])
    outcome = trainer(epochs=50, validate_every=4, patience=6).run()
    # patience would end at 10 = 4 + 6, but the validation then finds a better one
    assert validated(outcome) == [0, 4, 8, 10, 12, 16]
    assert (outcome.best.epoch, outcome.log[-1].epoch) == (10, 16)


def test_keeping_the_last_epoch_ends_with_one_that_was_validated(trainer: MakeTrainer) -> None:
    outcome = trainer(epochs=3, validate_every=10, keep="last").run()
    assert validated(outcome) == [0, 3] and outcome.best.epoch == 3


def test_a_log_gets_one_line_an_epoch_of_this_run(
    trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "has_terminal", lambda: False)
    lines: list[str] = []

    def stop(row: EpochLog) -> None:
        if row.epoch == 1:
            raise StopError

    with pytest.raises(StopError):
        trainer(epochs=2).run(stop, lines.append)
    recall = r"recall@1 \d\.\d{3}  recall@5 \d\.\d{3}  \d+ s"
    assert re.fullmatch(rf"epoch 0/2: {recall}", lines[0])
    assert re.fullmatch(rf"epoch 1/2: loss \d\.\d{{4}}  {recall}  \(\d+ s left\)", lines[1])
    trainer(epochs=2).run(say=lines.append)
    assert re.fullmatch(rf"epoch 2/2: loss \d\.\d{{4}}  {recall}", lines[2])
    assert len(lines) == 3


def test_the_start_competes_for_the_best(
    trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(monkeypatch, [(0.8, 0.1), (0.7, 0.9), (0.8, 0.1)])
    outcome = trainer().run()
    assert outcome.best.epoch == 0
    assert weights(outcome.model) == weights(a_model())


def test_the_best_is_that_of_recall_at_5_and_then_of_recall_at_1(
    trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(monkeypatch, [(0.8, 0.1), (0.8, 0.2), (0.7, 0.9)])
    running, kept = trainer(), {}
    outcome = running.run(lambda row: kept.update({row.epoch: weights(running.model)}))
    assert outcome.best.epoch == 1
    assert weights(outcome.model) == kept[1] != kept[2]


@torch.no_grad()
def apart_by(model: PlaceModel, split: Split) -> np.ndarray:
    """The distance of every query to every database image [Q, D], the plain way."""
    sides = []
    for source in (split.queries, split.database):
        pixels = np.stack([source.pixels(row) for row in range(len(source.index))])
        sides.append(model(torch.from_numpy(pixels)).numpy())
    return np.linalg.norm(sides[0][:, None] - sides[1][None], axis=2)


def test_validation_equals_the_plain_way(trainer: MakeTrainer, data: TrainingData) -> None:
    found = trainer(epochs=0).run().log[0].recalls
    apart = apart_by(a_model(), data.val)
    ranks = apart.argsort(axis=1)
    for n in (1, 5):
        hits = [bool({r // VIEWS for r in ranks[q, :n]} & {q // ASKED}) for q in range(len(ranks))]
        assert found[f"recall@{n}"] == pytest.approx(np.mean(hits))
    assert found["recall@20"] == 1.0


def test_images_of_mixed_sizes_are_described_in_their_order(
    slim: str, cpu: torch.device, noise: Callable[..., np.ndarray]
) -> None:
    model = a_model()
    shapes = [(64, 48), (48, 64), (64, 48), (64, 48), (40, 40)]
    pictures = [noise(row, *shape) for row, shape in enumerate(shapes)]
    together = SplitNetwork(model, "conv1", "float32", "float32").describe(
        list(map(LoadedImage, pictures))
    )
    for row, picture in enumerate(pictures):
        alone = model(torch.from_numpy(picture[None]))[0]
        torch.testing.assert_close(together[row], alone, atol=1e-5, rtol=0)
    together.sum().backward()
    assert model.pool.centroids.grad.isfinite().all()


def loaded(running: Trainer, part: list[Tuple]) -> list[LoadedImage]:
    return [load() for load in running.inputs.loaders(running.gradients.images_of(part))]


def test_a_step_learns_from_the_loss_of_its_triplets(
    trainer: MakeTrainer, data: TrainingData
) -> None:
    running = trainer(momentum=0.0, weight_decay=0.0, margin=4.0)
    running.state.epoch = 1
    step = [Tuple(0, 1, np.array([3, 6])), Tuple(5, 8, np.array([1, 3]))]
    running._learn([step], iter([loaded(running, step)]))
    twin, total = a_model(), 0.0
    for t in step:
        rows = [data.train.queries.pixels(t.query)]
        rows += [data.train.database.pixels(row) for row in (t.positive, *t.negatives)]
        q, p, *negatives = twin(torch.from_numpy(np.stack(rows)))
        for n in negatives:
            total = total + (torch.dist(q, p) + 2.0 - torch.dist(q, n)).clamp(min=0)
    (total / 4).backward()
    assert running.state.loss_sum / running.state.terms == pytest.approx(total.item() / 4, abs=1e-4)
    learnt = running.model.pool.centroids.detach()
    expected = twin.pool.centroids.detach() - 0.01 * twin.pool.centroids.grad
    torch.testing.assert_close(learnt, expected, atol=1e-5, rtol=0)


def test_queries_without_a_positive_are_left_out(data: TrainingData, trainer: MakeTrainer) -> None:
    positions = data.train.queries.index.positions
    positions[3] += (40, 0)
    some = training_data(data.train, RADII, data.val, data.val_truth, settings())
    assert some.candidates.trainable().tolist() == [0, 1, 2, 4, 5, 6, 7]


def test_radii_of_the_settings_go_before_those_of_the_specification(data: TrainingData) -> None:
    narrow = settings(positive_radius_m=2.0, negative_radius_m=150.0)
    allowed = training_data(data.train, RADII, data.val, data.val_truth, narrow).candidates
    assert allowed.positives.counts().tolist() == [2] * 8
    assert allowed.near.of(0).tolist() == [0, 1, 2, 3, 4, 5]


def test_a_set_that_nothing_can_be_learnt_from_is_a_sentence(data: TrainingData) -> None:
    sentence = r"no query of train-q can be trained on: none has both .* within 0\.5 m and one beyo"
    with pytest.raises(UserError, match=sentence):
        training_data(data.train, RADII, data.val, data.val_truth, settings(positive_radius_m=0.5))


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("refresh_queries", [3, 0])
def test_accumulated_steps_equal_one_larger_step(
    trainer: MakeTrainer, refresh_queries: int, optimizer: str
) -> None:
    """Eight queries a block in steps of four; with a refresh after three, two thirds and a rest."""
    same = {"refresh_queries": refresh_queries, "optimizer": optimizer, "learning_rate": 0.001}
    size = 2 if refresh_queries else 4
    runs = [
        trainer("large", queries_a_step=size, **same),
        trainer("summed", queries_a_step=1, accumulate=size, **same),
    ]
    large, summed = (run.run() for run in runs)
    assert [row.violating for row in large.log] == [row.violating for row in summed.log]
    for one, other in zip(large.log[1:], summed.log[1:], strict=True):
        assert one.loss == pytest.approx(other.loss, abs=1e-5)
    for name, tensor in runs[0].state.weights.items():
        torch.testing.assert_close(runs[1].state.weights[name], tensor, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("accumulate", "moves"), [(1, 5), (2, 3), (3, 3), (100, 3)])
def test_the_optimiser_moves_at_the_end_of_each_block(
    trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch, accumulate: int, moves: int
) -> None:
    """Eight queries in blocks of three, three and two, a step of at most two."""
    running, count = trainer(epochs=1, margin=4.0, accumulate=accumulate), []
    step = running.optimizer.step
    monkeypatch.setattr(running.optimizer, "step", lambda: (count.append(1), step()))
    running.run()
    assert len(count) == moves


def test_random_mining_describes_no_training_image(
    trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    running, described = trainer(**BERLIN), set()
    whole = running._describe
    monkeypatch.setattr(
        running, "_describe", lambda name, *others: (described.add(name), whole(name, *others))[1]
    )
    outcome = running.run()
    assert described == {"val-queries", "val-database"}
    assert [row.violating for row in outcome.log] == [None] * 3
    assert all(row.loss > 0 for row in outcome.log[1:])
    assert (running.state.memory == -1).all()


def test_references_are_queries_and_database_at_once(
    trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    running, seen = trainer(**BERLIN), []
    whole = Trainer._learn
    monkeypatch.setattr(
        Trainer, "_learn", lambda self, step, *o: (seen.append(step), whole(self, step, *o))[1]
    )
    running.run()
    tuples = [t for step in seen for part in step for t in part]
    assert len(tuples) == 2 * PLACES * VIEWS
    assert {len(part) for step in seen for part in step} == {1}
    for t in tuples:
        assert t.positive != t.query and t.positive // VIEWS == t.query // VIEWS
        assert all(n // VIEWS != t.query // VIEWS for n in t.negatives)
    assert running.inputs.sources["queries"].source == running.data.train.database


def test_every_image_of_a_tuple_is_changed_alike_and_anew_in_each_epoch(
    trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = trainer(flip=0.5, jitter=(0.5, 1.5), margin=4.0)
    parts, changes = [], {}
    whole = StepGradients._add_part

    def listening(
        self: StepGradients, part: list[Tuple], images: list[LoadedImage], *o: object
    ) -> float:
        parts.append((part, images))
        changes.update({(running.state.epoch, t.query): t.change for t in part})
        return whole(self, part, images, *o)

    monkeypatch.setattr(StepGradients, "_add_part", listening)
    running.run()
    for part, images in parts:
        train = running.data.train
        wanted = [(train.queries, t.query, t.change) for t in part]
        wanted += [(train.database, *image) for image in database_images(part)]
        for image, (source, row, change) in zip(images, wanted, strict=True):
            plain = source.pixels(row)
            assert plain.shape == (64, 64, 3)
            assert image.values.shape == (round(64 * change.scale), round(64 * change.scale), 3)
            assert np.array_equal(image.values, changed(plain, change))
    assert len({change.scale for change in changes.values()}) == len(changes) == 16
    assert {change.is_mirrored for change in changes.values()} == {True, False}


@pytest.mark.parametrize("asked", [1, 3, 8, 1000])
def test_a_sample_of_the_validation_queries_is_drawn_once(
    trainer: MakeTrainer, data: TrainingData, asked: int
) -> None:
    running = trainer(val_queries=asked)
    names = running.data.val.queries.index.names
    assert len(set(names)) == len(names) == min(asked, PLACES * ASKED)
    assert names == trainer(val_queries=asked).data.val.queries.index.names
    rows = [data.val.queries.index.names.index(name) for name in names]
    assert rows == sorted(rows)
    alone = replace(
        running.data,
        val=Split(data.val.database, data.val.queries.take(np.array(rows))),
        val_truth=data.val_truth.take(np.array(rows)),
    )
    twin = Trainer(a_model(), alone, settings(), running.device, running.runtime, running.scratch)
    assert twin._validate() == running._validate()


def test_seeds_draw_other_validation_queries(trainer: MakeTrainer) -> None:
    drawn = {
        tuple(trainer(val_queries=3, seed=seed).data.val.queries.index.names) for seed in range(9)
    }
    assert len(drawn) > 3


def test_the_rank_loss_stands_beside_recall_and_equals_the_plain_way(
    trainer: MakeTrainer, data: TrainingData
) -> None:
    row = trainer(epochs=0).run().log[0]
    apart = apart_by(a_model(), data.val)
    losses = []
    for query, distances in enumerate(apart):
        is_right = np.arange(len(distances)) // VIEWS == query // ASKED
        limit = distances[is_right].min() + 0.2**0.5
        losses.append(np.maximum(limit - distances[~is_right], 0).mean())
    assert row.rank_loss == pytest.approx(np.mean(losses), abs=1e-4)


def test_no_rank_loss_is_computed_where_none_is_asked_for(trainer: MakeTrainer) -> None:
    outcome = trainer(epochs=1, rank_loss_negatives=0).run()
    assert [row.rank_loss for row in outcome.log] == [None, None]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"mining": "partial", "negative_pool": 1},
        {"mining": "random", "positive": "random", "negatives": 9},
        {"skip_hardest": 5},
        {"jitter": (0.9, 1.1), "flip": 1.0, "val_queries": 1, "rank_loss_negatives": 1},
    ],
)
def test_a_set_of_one_query_and_two_images_is_enough(
    source_of: Callable[..., ImageSource],
    noise: Callable[..., np.ndarray],
    slim: str,
    runtime: RuntimeSettings,
    cpu: torch.device,
    tmp_path: Path,
    changes: dict[str, object],
) -> None:
    database = source_of([noise(1), noise(2)], np.array([[0.0, 0], [100, 0]]), "db")
    split = Split(database, source_of([noise(3)], np.array([[5.0, 0]]), "q"))
    truth = Near(split.queries.index.positions, database.index.positions, 25.0)
    wanted = settings(**changes)
    small = training_data(split, RADII, split, truth, wanted)
    outcome = Trainer(a_model(), small, wanted, cpu, runtime, Scratch(tmp_path / "s")).run()
    assert [row.epoch for row in outcome.log] == [0, 1, 2]


def test_references_that_are_all_near_each_other_teach_nothing(data: TrainingData) -> None:
    wide = settings(train_queries="database", negative_radius_m=1000.0)
    with pytest.raises(UserError, match=r"no query of train-db can be trained on: none has both"):
        training_data(data.train, RADII, data.val, data.val_truth, wide)
