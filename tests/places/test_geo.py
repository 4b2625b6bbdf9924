"""Who is near whom: by hand, against the double loop, and in float64."""

import numpy as np
import pytest
from vectors import pairs

from vprlib.places.geo import (
    chance_recall,
    count_within,
    pair_distances,
    pairs_of,
    pairs_within,
)

ORIGIN = np.array([585_000.0, 4_477_000.0])
LINE = np.array([[0.0, 0.0], [3.0, 0.0], [10.0, 0.0]])


def some_positions(seed: int, count: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 100, (count, 2)) + ORIGIN


def test_pairs_of_three_images_by_hand() -> None:
    found = pairs_within(np.array([[1.0, 0.0], [50.0, 0.0], [9.0, 0.0]]), LINE, 2.5)
    assert [found.of(q).tolist() for q in range(3)] == [[0, 1], [], [2]]
    assert found.counts().tolist() == [2, 0, 1]
    assert found.queries().tolist() == [0, 0, 2]
    np.testing.assert_allclose(
        pair_distances(found, np.array([[1.0, 0], [50, 0], [9, 0]]), LINE), [1, 2, 1]
    )


def test_the_radius_is_inclusive_at_the_boundary() -> None:
    query = np.array([[585_000.0, 4_477_000.0]])
    database = query + np.array([[15, 20], [15, np.nextafter(20, 21) + 1e-6], [-25, 0], [7, -24]])
    assert pairs_within(query, database, 25.0).of(0).tolist() == [0, 2, 3]
    assert count_within(query, database, 25.0).tolist() == [3]


def test_pairs_equal_the_double_loop() -> None:
    queries, database = some_positions(1, 40), some_positions(2, 300)
    found = pairs_within(queries, database, 25.0)
    for q, query in enumerate(queries):
        twin = [r for r, p in enumerate(database) if np.hypot(*(p - query)) <= 25.0]
        assert found.of(q).tolist() == twin
    assert count_within(queries, database, 25.0).tolist() == found.counts().tolist()


def test_nearness_is_mutual() -> None:
    a, b = some_positions(3, 30), some_positions(4, 20)
    there, back = pairs_within(a, b, 20.0), pairs_within(b, a, 20.0)
    forward = set(zip(there.queries().tolist(), there.rows.tolist(), strict=True))
    backward = set(zip(back.rows.tolist(), back.queries().tolist(), strict=True))
    assert forward == backward


def test_a_pair_that_float32_would_flip_is_told_apart() -> None:
    query, image = np.array([[585_000.0, 4_477_000.2]]), np.array([[585_000.0, 4_477_025.24]])
    assert count_within(query, image, 25.0).tolist() == [0]
    rough = (query.astype(np.float32), image.astype(np.float32))
    assert count_within(*(side.astype(np.float64) for side in rough), 25.0).tolist() == [1]


def test_keep_drops_pairs_and_no_query() -> None:
    kept = pairs([4, 6], [], [1, 2, 3]).keep(np.array([False, True, True, False, True]))
    assert [kept.of(q).tolist() for q in range(3)] == [[6], [], [1, 3]]


@pytest.mark.parametrize(("queries", "database"), [(0, 3), (3, 0), (0, 0)])
def test_an_empty_side_has_no_pairs(queries: int, database: int) -> None:
    sides = np.zeros((queries, 2)), np.zeros((database, 2))
    assert pairs_within(*sides, 5.0).counts().tolist() == [0] * queries
    assert count_within(*sides, 5.0).tolist() == [0] * queries


def test_chance_is_the_mean_share_of_right_images() -> None:
    assert chance_recall(np.array([1, 0, 3]), 4) == pytest.approx((0.25 + 0 + 0.75) / 3)
    assert chance_recall(np.zeros(0), 4) == 0.0


def test_chance_equals_the_recall_of_blind_answers() -> None:
    queries, database = some_positions(6, 200), some_positions(7, 30)
    positives = pairs_within(queries, database, 25.0)
    picks = np.random.default_rng(8).integers(0, 30, (200, 300))
    drawn = np.mean([np.isin(picks[q], positives.of(q)).mean() for q in range(200)])
    assert chance_recall(positives.counts(), 30) == pytest.approx(drawn, abs=0.01)


def test_a_part_of_the_pairs_holds_the_same_rows_of_its_queries() -> None:
    found = pairs_within(*(np.random.default_rng(s).uniform(0, 9, (20, 2)) for s in (1, 2)), 3.0)
    part = found.take(slice(5, 9))
    assert [part.of(q).tolist() for q in range(4)] == [found.of(q).tolist() for q in range(5, 9)]
    assert len(part.rows) == part.counts().sum() == found.counts()[5:9].sum() > 0


def test_pairs_of_lists_and_their_union_by_hand() -> None:
    first, second = pairs([1, 5], [], [0]), pairs([2, 5], [7], [])
    assert [first.of(q).tolist() for q in range(3)] == [[1, 5], [], [0]]
    found = first.joined(second)
    assert [found.of(q).tolist() for q in range(3)] == [[1, 2, 5], [7], [0]]
    assert found.rows.dtype == found.starts.dtype == np.int64


def test_no_lists_are_no_pairs() -> None:
    assert pairs_of([]).starts.tolist() == [0]
    assert pairs_of([]).joined(pairs_of([])).rows.tolist() == []


def test_pairs_of_some_queries_stand_in_their_new_order() -> None:
    four = pairs([1, 4], [], [0, 2, 5], [3])
    taken = four.take(np.array([2, 1, 0]))
    assert [taken.of(q).tolist() for q in range(3)] == [[0, 2, 5], [], [1, 4]]
    assert four.take(np.array([1])).counts().tolist() == [0]
    assert len(four.take(np.zeros(0, np.int64)).counts()) == 0


def test_pairs_know_which_rows_they_contain() -> None:
    found = pairs([1, 4], [], [0]).contain(np.array([[4, 0, 9], [1, 4, 0], [0, 1, 4]]))
    assert found.tolist() == [[True, False, False], [False] * 3, [True, False, False]]


def test_joined_pairs_equal_the_union_of_each_query() -> None:
    draw = np.random.default_rng(5)
    a, b = (
        [sorted(set(draw.integers(0, 9, draw.integers(0, 6)).tolist())) for _ in range(20)]
        for _ in "ab"
    )
    joined = pairs(*a).joined(pairs(*b))
    assert [joined.of(q).tolist() for q in range(20)] == [
        sorted({*x, *y}) for x, y in zip(a, b, strict=True)
    ]
    assert pairs([], []).joined(pairs([], [])).counts().tolist() == [0, 0]
