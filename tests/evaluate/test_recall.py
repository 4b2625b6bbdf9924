"""Recall@N: by hand, against a loop, at the boundary, and by both denominators."""

import numpy as np
import pytest
from pydantic import ValidationError

from vprlib.evaluate.recall import RecallSettings, evaluate
from vprlib.pipeline.params import UserError
from vprlib.places.truth import Near, is_right, recall_at

PLACES = np.array([[0.0, 0.0], [100.0, 0.0], [200.0, 0.0]])
ASKED = np.array([[20.0, 15.0], [130.0, 0.0], [200.0, 1.0], [900.0, 0.0]])  # 25, 30, 1, 700 m
FOUND = np.array([[1, 0, 2], [1, 2, 0], [2, 1, 0], [0, 1, 2]])


def test_recall_of_four_queries_by_hand() -> None:
    settings = RecallSettings(ns=(1, 2, 3))
    result = evaluate(FOUND, Near(ASKED, PLACES, 25.0), settings)
    assert result.right.tolist() == [
        [False, True, False],
        [False, False, False],
        [True, False, False],
        [False, False, False],
    ]
    assert result.curve == [(1, 0.25), (2, 0.5), (3, 0.5)]
    assert result.metrics == {
        "recall@1": 0.25,
        "recall@2": 0.5,
        "recall@3": 0.5,
        "queries": 4,
        "queries_without_positive": 2,
        "denominator": "all",
        "chance_recall@1": pytest.approx(2 / 12),
    }
    assert "4 queries (2 without a positive)  recall@1 0.250" in result.sentence()


def test_only_answerable_queries_count_where_that_is_asked_for() -> None:
    settings = RecallSettings(ns=(1, 2), denominator="answerable")
    result = evaluate(FOUND, Near(ASKED, PLACES, 25.0), settings)
    assert result.curve == [(1, 0.5), (2, 1.0)]
    assert (result.metrics["queries"], result.metrics["queries_without_positive"]) == (4, 2)
    assert result.right.shape == (4, 3)


def test_the_radius_is_inclusive_at_the_boundary() -> None:
    query = np.array([[585_000.0, 4_477_000.0]])
    database = query + np.array([[15, 20], [15, 20.000001], [-25, 0], [-25.000001, 0]])
    found = Near(query, database, 25.0).is_right(np.array([[0, 1, 2, 3]]))
    assert found.tolist() == [[True, False, True, False]]


def test_a_hit_that_float32_would_invent_is_none() -> None:
    query, image = np.array([[585_000.0, 4_477_000.2]]), np.array([[585_000.0, 4_477_025.24]])
    assert not Near(query, image, 25.0).is_right(np.array([[0]])).any()


def some(queries: int = 40, database: int = 60, count: int = 10) -> tuple[np.ndarray, ...]:
    generator = np.random.default_rng(1)
    sides = (generator.uniform(0, 200, (n, 2)) for n in (queries, database))
    ranks = [generator.permutation(database)[:count] for _ in range(queries)]
    return np.array(ranks), *sides


@pytest.mark.parametrize("denominator", ["all", "answerable"])
def test_recall_equals_the_loop_over_queries(denominator: str) -> None:
    neighbors, queries, database = some()
    settings = RecallSettings(ns=(1, 3, 10), denominator=denominator)
    found = dict(evaluate(neighbors, Near(queries, database, 25.0), settings).curve)
    for n in (1, 3, 10):
        hits = counted = 0
        for q, query in enumerate(queries):
            near = {r for r, p in enumerate(database) if np.hypot(*(p - query)) <= 25.0}
            counted += denominator == "all" or bool(near)
            hits += bool(near & set(neighbors[q, :n].tolist()))
        assert found[n] == pytest.approx(hits / counted)


def test_recall_never_falls_with_n() -> None:
    neighbors, queries, database = some()
    right = Near(queries, database, 25.0).is_right(neighbors)
    recalls = list(recall_at(right, range(1, 11)).values())
    assert recalls == sorted(recalls)
    assert recalls[-1] > recalls[0]


def test_recall_never_falls_with_the_radius() -> None:
    neighbors, queries, database = some()
    recalls = [
        recall_at(Near(queries, database, r).is_right(neighbors), [5])[5] for r in (5, 25, 50, 300)
    ]
    assert recalls == sorted(recalls)
    assert recalls[-1] == 1.0


def test_beyond_the_retrieved_images_recall_stays_as_it_is() -> None:
    right = np.array([[False, True], [False, False]])
    assert recall_at(right, [1, 2, 20]) == {1: 0.0, 2: 0.5, 20: 0.5}


@pytest.mark.parametrize("denominator", ["all", "answerable"])
def test_a_set_in_which_no_query_has_a_positive_is_a_sentence(denominator: str) -> None:
    settings = RecallSettings(ns=(1,), denominator=denominator)
    with pytest.raises(UserError, match="no query has a right database image: check radius_m"):
        evaluate(FOUND, Near(ASKED + 1e5, PLACES, 25.0), settings)


def test_recall_of_no_queries_is_zero() -> None:
    assert recall_at(np.zeros((0, 5), bool), [1]) == {1: 0.0}


def test_ns_are_sorted_and_each_once() -> None:
    assert RecallSettings(ns=(10, 1, 5, 1)).ns == (1, 5, 10)


def test_ns_may_be_ranges_as_matlab_writes_them() -> None:
    assert RecallSettings(ns=["1:5", "10:5:100"]).ns == (1, 2, 3, 4, 5, *range(10, 101, 5))
    assert RecallSettings(ns=[20, "1:2:8", 3]).ns == (1, 3, 5, 7, 20)
    assert RecallSettings(ns=[" 2 : 4 ", "7:7"]).ns == (2, 3, 4, 7)


@pytest.mark.parametrize(
    "text", ["5:1", "1:0:5", "one", "", "1:2:3:4", "-1:3", "1.5:3", "1:5,10", "9:-1:1"]
)
def test_a_text_that_is_no_range_is_named(text: str) -> None:
    with pytest.raises(ValidationError, match=f"'{text}' is no range such as '1:5'"):
        RecallSettings(ns=[1, text])


def test_a_range_without_end_is_refused() -> None:
    with pytest.raises(ValidationError, match="has 99999999999999999999 values, but 1000 are"):
        RecallSettings(ns=["1:99999999999999999999"])


@pytest.mark.parametrize(("ns", "problem"), [([True], "one is true"), ("1:5", "valid tuple")])
def test_ns_of_another_kind_are_refused(ns: object, problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        RecallSettings(ns=ns)


def test_at_least_twenty_neighbours_are_kept() -> None:
    assert [RecallSettings(ns=ns).columns for ns in ([1], [1, 20], ["1:25"])] == [20, 20, 25]


def test_where_nothing_was_retrieved_nothing_is_right() -> None:
    neighbors = np.array([[2, -1], [-1, -1]])  # row -1 would be the last image, which is right
    right = is_right(neighbors, Near(np.full((2, 2), [200.0, 0.0]), PLACES, 25.0))
    assert right.tolist() == [[True, False], [False, False]]


@pytest.mark.parametrize(("first", "doubt"), [(0, True), (1, False)])
def test_a_recall_near_chance_is_known_as_such(first: int, doubt: bool) -> None:
    places = np.array([[0.0, 0.0], [900.0, 0.0], [950.0, 0.0]])
    neighbors = np.array([[1, 2, 0] if not first else [0, 1, 2]] * 2)
    result = evaluate(neighbors, Near(np.zeros((2, 2)), places, 25.0), RecallSettings())
    assert result.is_near_chance == doubt


@pytest.mark.parametrize("ns", [(), (0, 1), (-1,)])
def test_ns_below_one_or_none_are_refused(ns: tuple[int, ...]) -> None:
    with pytest.raises(ValidationError, match="at least 1"):
        RecallSettings(ns=ns)
