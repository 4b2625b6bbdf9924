"""The rank loss: by hand, against a loop, and what is left out of it."""

import math

import numpy as np
import pytest
import torch
from vectors import pairs, unit

from vprlib.places.truth import Listed, Truth
from vprlib.train.losses import mean_loss, nearest_positives, rank_losses
from vprlib.train.pairwise import nearest
from vprlib.train.settings import TrainSettings

MEMORY = 2**30


def settings(
    negatives: int = 1000, distance: str = "l2", seed: int = 1, margin: float = 0.1
) -> TrainSettings:
    return TrainSettings(rank_loss_negatives=negatives, distance=distance, seed=seed, margin=margin)


def ask(
    queries: np.ndarray,
    database: np.ndarray,
    truth: Truth,
    wanted: TrainSettings,
    memory: int = MEMORY,
    neighbors: int = 3,
) -> float | None:
    queries, database = (np.asarray(side, np.float32) for side in (queries, database))
    found = neighbors_of(queries, database, neighbors)
    return mean_loss(rank_losses(queries, database, *found, truth, wanted, memory))


def neighbors_of(q: np.ndarray, d: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and distances of the nearest."""
    rows, squared = nearest(q, d, count, torch.device("cpu"), MEMORY)
    return rows, np.sqrt(squared)


def listed() -> Listed:
    """Twelve queries, forty images: one without a positive, one to which nothing is wrong."""
    draw = np.random.default_rng(4)
    right = [np.sort(draw.choice(40, 3, replace=False)).tolist() for _ in range(12)]
    right[5] = []
    doubtful = [sorted(set(draw.choice(40, 6).tolist()) - set(r)) for r in right]
    doubtful[8] = sorted(set(range(40)) - set(right[8]))
    return Listed(pairs(*right), pairs(*doubtful), pairs(*right), 40)


TRUTH, Q, D = listed(), unit(12), unit(40, seed=2)


@pytest.mark.parametrize(
    ("distance", "power", "margin"), [("l2", 1, 0.1**0.5), ("squared", 2, 0.1)]
)
def test_the_rank_loss_by_hand(distance: str, power: int, margin: float) -> None:
    database = [[0.5], [0.9], [0.6], [2.0]]
    truth = Listed(pairs([0, 1]), pairs([]), pairs([0, 1]), 4)
    expected = (max(0.5**power + margin - 0.6**power, 0) + 0) / 2
    assert ask([[0.0]], database, truth, settings(distance=distance)) == pytest.approx(expected)


@pytest.mark.parametrize("distance", ["l2", "squared"])
@pytest.mark.parametrize("memory", [MEMORY, 2000])
def test_the_rank_loss_over_all_negatives_equals_a_loop(distance: str, memory: int) -> None:
    power, margin = (2, 0.1) if distance == "squared" else (1, math.sqrt(0.1))
    losses = []
    for query in range(12):
        right, doubtful = (p.of(query).tolist() for p in (TRUTH.right, TRUTH.doubtful))
        apart = [math.dist(Q[query].tolist(), row) ** power for row in D.tolist()]
        wrong = [apart[row] for row in range(40) if row not in right + doubtful]
        if right and wrong:
            limit = min(apart[row] for row in right) + margin
            losses.append(sum(max(limit - w, 0) for w in wrong) / len(wrong))
    assert len(losses) == 10
    found = ask(Q, D, TRUTH, settings(distance=distance), memory)
    assert found == pytest.approx(sum(losses) / 10, abs=1e-5)


@pytest.mark.parametrize("count", [1, 3])
def test_so_many_distinct_negatives_are_sampled_and_never_one_that_is_near(count: int) -> None:
    """Powers of two as squared distances: their sum tells which were taken."""
    database = np.sqrt(2.0 ** np.arange(8))[:, None]
    truth = Listed(pairs([0, 3]), pairs([5]), pairs([0, 3]), 8)
    taken = []
    for seed in range(60):
        found = ask([[0.0]], database, truth, settings(count, "squared", seed, 1000.0))
        bits = round((1001 - found) * count)
        taken.append([row for row in range(8) if bits >> row & 1])
    assert all(len(rows) == count for rows in taken)
    assert {row for rows in taken for row in rows} == {1, 2, 4, 6, 7}


def test_samples_estimate_the_loss_over_all_negatives() -> None:
    whole = ask(Q, D, TRUTH, settings())
    few = [ask(Q, D, TRUTH, settings(4, seed=seed)) for seed in range(200)]
    assert np.mean(few) == pytest.approx(whole, abs=4 * np.std(few) / 200**0.5)
    assert np.std(few) > 0
    assert ask(Q, D, TRUTH, settings(4, seed=3)) == few[3]


def test_the_nearest_positive_is_known_beyond_the_neighbors_found() -> None:
    for count in (1, 5, 40):
        found = nearest_positives(Q, D, *neighbors_of(Q, D, count), TRUTH)
        for query in range(12):
            apart = np.linalg.norm(D[TRUTH.right.of(query)] - Q[query], axis=1)
            assert found[query] == pytest.approx(apart.min()) if len(apart) else np.nan
        assert np.isnan(found).tolist() == [query == 5 for query in range(12)]


def test_without_a_positive_or_a_negative_there_is_no_rank_loss() -> None:
    assert (
        ask([[0.0]], [[0.1], [0.2]], Listed(pairs([]), pairs([]), pairs([]), 2), settings()) is None
    )
    assert (
        ask([[0.0]], [[0.1], [0.2]], Listed(pairs([0, 1]), pairs([]), pairs([0, 1]), 2), settings())
        is None
    )
    assert ask(np.zeros((0, 1)), [[0.1]], Listed(pairs(), pairs(), pairs(), 1), settings()) is None


def test_one_image_a_side_is_enough() -> None:
    assert ask([[0.0]], [[0.1]], Listed(pairs([0]), pairs([]), pairs([0]), 1), settings()) is None


def test_only_queries_with_a_positive_and_a_negative_have_a_loss() -> None:
    losses = rank_losses(Q, D, *neighbors_of(Q, D, 3), TRUTH, settings(), MEMORY)
    assert np.flatnonzero(np.isnan(losses)).tolist() == [5, 8]
    assert mean_loss(losses) == pytest.approx(sum(losses[k] for k in range(12) if k not in (5, 8))
                                              / 10)  # fmt: skip


@pytest.mark.parametrize("negatives", [1, 4, 1000])
@pytest.mark.parametrize("share", [slice(0, None, 2), slice(1, None, 2), slice(5, 6), slice(0, 0)])
def test_a_share_of_the_queries_has_the_losses_that_all_have(negatives: int, share: slice) -> None:
    """Whoever asks beside it, a query is held against the same negatives."""
    whole, own = (
        rank_losses(some, D, *neighbors_of(some, D, 3), lists, settings(negatives), MEMORY)
        for some, lists in ((Q, TRUTH), (Q[share], TRUTH.take(share)))
    )
    np.testing.assert_allclose(own, whole[share], atol=1e-6)
