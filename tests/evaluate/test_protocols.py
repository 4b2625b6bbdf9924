"""Recall protocols: each by hand, against a slow loop, and the laws that bind them to plain."""

import numpy as np
import pytest
from vectors import pairs, unit

from vprlib.evaluate.protocols import (
    Ranking,
    average_precision,
    depth,
    first,
    is_first,
    judged,
    measure,
    metres_of,
)
from vprlib.evaluate.recall import RecallSettings
from vprlib.pipeline.params import UserError
from vprlib.places.truth import Apart, Listed, Near
from vprlib.search import neighbors
from vprlib.search.request import Neighbors

PROTOCOLS = ("plain", "tokyo247", "tokyoTM", "ranked")
NS = RecallSettings(ns=(1, 2, 5))


@pytest.fixture
def panoramas():
    """Descriptors and positions: 6 queries, 10 panoramas of 12 tiles."""
    draw = np.random.default_rng(3)
    places = draw.uniform(0, 100, (10, 2)).repeat(12, axis=0)
    truth = Near(draw.uniform(0, 100, (6, 2)), places, 25.0)
    return unit(6, seed=1), unit(120, seed=2), truth


@pytest.fixture
def listed():
    """5 queries, 30 database images, a third of them right and a third doubtful."""
    kinds = np.random.default_rng(4).integers(0, 3, (5, 30))
    right, doubtful = (pairs(*(np.flatnonzero(row == k) for row in kinds)) for k in (1, 2))
    return unit(5, seed=1), unit(30, seed=2), Listed(right, doubtful, right, 30), kinds


def order(query, database):
    return np.argsort(((database.astype(np.float64) - query) ** 2).sum(axis=1), kind="stable")


# --- tokyo247


def test_the_best_tile_of_each_panorama_stays_by_hand():
    labels = np.array([[5, 5, 2, 5, 2, 0], [1, 2, 3, 1, 2, 3]])
    assert is_first(labels).tolist() == [
        [True, False, True, False, False, True],
        [True, True, True, False, False, False],
    ]


def test_tokyo247_equals_the_loop_that_asks_whether_a_panorama_was_seen(panoramas, ranked):
    queries, database, truth = panoramas
    found = ranked("tokyo247", queries, database, truth, 4)
    for q, query in enumerate(queries):
        kept, seen = [], set()
        for row in order(query, database)[: 12 * 4].tolist():
            if row // 12 not in seen:
                seen.add(row // 12)
                kept.append(row)
        assert found.rows[q].tolist() == kept[:4]
        expected = np.linalg.norm(database[kept[:4]] - query, axis=1)
        np.testing.assert_allclose(found.distances[q], expected, atol=1e-6)


def test_tokyo247_leaves_the_first_result_as_plain_has_it_and_raises_the_others(ranked):
    draw = np.random.default_rng(3)
    places = draw.uniform(0, 100, (20, 2)).repeat(12, axis=0)
    truth = Near(draw.uniform(0, 100, (30, 2)), places, 15.0)
    database = unit(20, seed=2).repeat(12, axis=0) + draw.normal(0, 0.1, (240, 6))  # tiles alike
    settings = RecallSettings(ns=["1:20"])
    rankings = {p: ranked(p, unit(30), database, truth, 20) for p in ("plain", "tokyo247")}
    assert (rankings["plain"].rows[:, 0] == rankings["tokyo247"].rows[:, 0]).all()
    plain, tokyo = (measure(p, r, truth, settings).curve for p, r in rankings.items())
    assert plain[0] == tokyo[0]
    assert all(one <= other for (_, one), (_, other) in zip(plain, tokyo, strict=True))
    assert plain[4][1] < tokyo[4][1]


def test_no_more_than_all_panoramas_are_found(panoramas, ranked):
    found = ranked("tokyo247", *panoramas, 20)
    assert found.rows.shape == (6, 10)
    assert all(len(set(row)) == 10 for row in (found.rows // 12).tolist())


def test_day_sunset_and_night_are_every_third_query(panoramas, ranked):
    result = measure("tokyo247", ranked("tokyo247", *panoramas, 20), panoramas[2], NS)
    for start, light in enumerate(("day", "sunset", "night")):
        hits = result.right[start::3]
        expected = {f"recall@{n}": hits[:, :n].any(axis=1).mean() for n in NS.ns}
        assert result.metrics[light] == pytest.approx(expected)
    mean = np.mean([result.metrics[light]["recall@5"] for light in ("day", "sunset", "night")])
    assert mean == pytest.approx(result.metrics["recall@5"])
    day = "/".join(f"{value:.3f}" for value in result.metrics["day"].values())
    assert f"  day {day}  sunset " in result.sentence()


def test_a_light_counts_only_answerable_queries_where_that_is_asked_for(panoramas, ranked):
    queries, database, near = panoramas
    far = near.queries.copy()
    far[0] += 1e6  # by day
    truth = Near(far, near.database, near.radius_m)
    settings = RecallSettings(ns=(10,), denominator="answerable")
    ranking = ranked("tokyo247", queries, database, truth, 20)
    result = measure("tokyo247", ranking, truth, settings)
    assert result.metrics["day"]["recall@10"] == float(result.right[3].any())


@pytest.mark.parametrize(("images", "queries"), [(23, 3), (24, 4)])
def test_tokyo247_wants_twelves_and_threes(index_at, images, queries):
    with pytest.raises(UserError, match=f"has {images} database images and {queries} queries: set"):
        judged("tokyo247", None, index_at(np.zeros((images, 2))), index_at(np.zeros((queries, 2))))


def test_a_panorama_at_two_positions_is_named(index_at):
    at = np.zeros((36, 2))
    at[30] = 0.5
    with pytest.raises(UserError, match=r"rows 24 to 35 of fancied's database have several: set"):
        judged("tokyo247", None, index_at(at), index_at(np.zeros((3, 2))))


def test_panoramas_without_positions_are_refused(index_at):
    unknown = index_at(np.full((24, 2), np.nan))
    with pytest.raises(UserError, match="rows 0 to 11"):
        judged("tokyo247", None, unknown, index_at(np.zeros((3, 2))))


# --- tokyoTM


def timed(seed=5, queries=8, database=40):
    draw = np.random.default_rng(seed)
    near = Near(draw.uniform(0, 60, (queries, 2)), draw.uniform(0, 60, (database, 2)), 25.0)
    return Apart(*vars(near).values(), draw.integers(0, 4, queries), draw.integers(0, 4, database))


def test_tokyo_tm_equals_the_loop_that_skips_the_querys_own_time(ranked):
    truth = timed()
    queries, database = unit(8, seed=1), unit(40, seed=2)
    found = ranked("tokyoTM", queries, database, truth, 3)
    for q, query in enumerate(queries):
        kept = [
            row
            for row in order(query, database)[:30].tolist()
            if truth.database_labels[row] != truth.query_labels[q]
        ]
        assert found.rows[q].tolist() == kept[:3]


def test_where_too_few_of_another_time_are_left_the_rest_is_empty(ranked):
    near = Near(np.zeros((2, 2)), np.zeros((4, 2)), 25.0)
    truth = Apart(*vars(near).values(), np.array([7, 9]), np.array([7, 7, 8, 7]))
    found = ranked("tokyoTM", unit(2), unit(4, seed=2), truth, 4)
    assert found.rows[0].tolist() == [2, -1, -1, -1]
    assert np.isinf(found.distances[0]).tolist() == [False, True, True, True]
    assert -1 not in found.rows[1]
    result = measure("tokyoTM", found, truth, NS)
    assert result.right.tolist() == [[True, False, False, False], [True] * 4]


def test_positives_of_another_time_are_counted_as_the_loop_counts_them():
    truth = timed()
    for q, count in enumerate(truth.counts()):
        offsets = np.linalg.norm(truth.database - truth.queries[q], axis=1)
        other = truth.database_labels != truth.query_labels[q]
        assert count == ((offsets <= 25.0) & other).sum()


def test_the_most_images_of_one_time_are_counted():
    assert timed().most_doubtful == max(
        (timed().database_labels == t).sum() for t in timed().query_labels
    )


def test_tokyo_tm_takes_the_times_of_the_index(index_at):
    extra = {"time": np.array([3, 4])}
    near = Near(np.zeros((2, 2)), np.zeros((2, 2)), 25.0)
    truth = judged("tokyoTM", near, index_at([(0, 0)] * 2, extra), index_at([(0, 0)] * 2, extra))
    assert truth.is_right(np.array([[0, 1], [0, 1]])).tolist() == [[False, True], [True, False]]
    assert (truth.radius_m, truth.database_size) == (25.0, 2)


def test_a_set_without_time_stamps_is_refused(index_at):
    near = Near(np.zeros((2, 2)), np.zeros((2, 2)), 25.0)
    with pytest.raises(UserError, match="fancied has no positions with time stamps: set datasets"):
        judged("tokyoTM", near, index_at([(0, 0)] * 2), index_at([(0, 0)] * 2))


# --- ranked


def test_average_precision_of_two_rankings_by_hand():
    right = np.array([[True, False, True, False], [False, True, False, False]])
    # 1st: ½·(1 + 1)/2 + ½·(1/2 + 2/3)/2; 2nd: (0 + 1/2)/2
    expected = [0.5 + 0.5 * (1 / 2 + 2 / 3) / 2, 0.25]
    assert average_precision(right, np.array([2, 1])) == pytest.approx(expected)


def oxford(in_order, right, doubtful):
    """The loop of the Oxford evaluation."""
    old_recall, old_precision, area, met, seen = 0.0, 1.0, 0.0, 0, 0
    for row in in_order:
        if row in doubtful:
            continue
        met += row in right
        seen += 1
        recall, precision = met / len(right), met / seen
        area += (recall - old_recall) * (old_precision + precision) / 2
        old_recall, old_precision = recall, precision
    return area


@pytest.mark.parametrize("part", [1, 2**22])  # a query at a time; all at once
def test_ranked_equals_the_loop_of_the_oxford_evaluation(listed, ranked, monkeypatch, part):
    monkeypatch.setattr(neighbors, "PART", part)
    queries, database, truth, _ = listed
    found = ranked("ranked", queries, database, truth, 20)
    expected = [
        oxford(order(q, database).tolist(), set(truth.right.of(i)), set(truth.doubtful.of(i)))
        for i, q in enumerate(queries)
    ]
    assert found.precisions == pytest.approx(expected)
    result = measure("ranked", found, truth, NS)
    assert result.metrics["map"] == pytest.approx(np.mean(expected))
    assert f"  map {np.mean(expected):.3f}" in result.sentence()


def test_a_perfect_ranking_has_precision_one_and_the_worst_little():
    right = np.arange(50)[None] < 5
    assert average_precision(right, np.array([5])) == pytest.approx([1.0])
    worst = average_precision(right[:, ::-1], np.array([5]))[0]
    draws = [np.random.default_rng(s).permutation(right[0])[None] for s in range(50)]
    drawn = [average_precision(draw, np.array([5]))[0] for draw in draws]
    assert worst <= min(drawn) and max(drawn) <= 1


def test_more_doubtful_images_change_no_precision_but_by_leaving(listed, ranked):
    queries, database, truth, kinds = listed
    whole = ranked("ranked", queries, database, truth, 20)
    for q in range(5):
        clean = np.flatnonzero(kinds[q] != 2)  # as if the doubtful ones had never been there
        right = pairs(np.flatnonzero(kinds[q][clean] == 1))
        alone = Listed(right, pairs([]), right, len(clean))
        found = ranked("ranked", queries[q : q + 1], database[clean], alone, 20)
        assert found.precisions == pytest.approx(whole.precisions[q : q + 1])


def test_truth_by_positions_can_be_ranked_too(panoramas, ranked):
    queries, database, truth = panoramas
    found = ranked("ranked", queries, database, truth, 20)
    for q in range(6):
        right = {r for r in range(120) if np.hypot(*(truth.database[r] - truth.queries[q])) <= 25}
        in_order = order(queries[q], database).tolist()
        assert found.precisions[q] == pytest.approx(oxford(in_order, right, set()) if right else 0)


def test_a_query_without_a_positive_has_no_precision_and_may_be_left_out(ranked):
    truth = Listed(pairs([0], []), pairs([], []), pairs([0], []), 4)
    found = ranked("ranked", unit(2), unit(4, seed=2), truth, 4)
    every, some = (
        measure("ranked", found, truth, RecallSettings(ns=(1,), denominator=d)).metrics["map"]
        for d in ("all", "answerable")
    )
    assert found.precisions[1] == 0 and some == pytest.approx(2 * every) and some > 0


# --- plain, and all of them


def test_doubtful_images_are_gone_before_anything_is_counted_by_hand():
    found = Neighbors(np.array([[4, 1, 3, 0]]), np.array([[0.1, 0.2, 0.3, 0.4]], np.float32))
    kept = first(found, np.array([[False, True, False, True]]), 3)
    assert kept.rows.tolist() == [[1, 0, -1]]
    assert kept.distances.tolist() == [[np.float32(0.2), np.float32(0.4), np.inf]]


@pytest.mark.parametrize("count", [1, 4, 30])
def test_plain_gives_as_many_as_wanted_although_doubtful_ones_go(listed, ranked, count):
    queries, database, truth, kinds = listed
    found = ranked("plain", queries, database, truth, count)
    for q, query in enumerate(queries):
        kept = [row for row in order(query, database).tolist() if kinds[q, row] != 2][:count]
        assert found.rows[q].tolist() == kept + [-1] * (count - len(kept))


def test_plain_with_positions_is_the_search_itself(panoramas, ranked):
    queries, database, truth = panoramas
    found = ranked("plain", queries, database, truth, 7)
    assert found.rows.tolist() == [order(q, database)[:7].tolist() for q in queries]
    assert found.precisions is None


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_some_queries_at_a_time_give_the_same(protocol, panoramas, ranked, monkeypatch):
    queries, database, truth = asked(protocol, panoramas)
    whole = ranked(protocol, queries, database, truth, 9)
    monkeypatch.setattr(neighbors, "PART", 1)
    parts = ranked(protocol, queries, database, truth, 9)
    assert whole.rows.tolist() == parts.rows.tolist()
    assert whole.distances.tolist() == parts.distances.tolist()


def asked(protocol, panoramas):
    """The panoramas, with time stamps where the protocol needs them."""
    queries, database, near = panoramas
    times = np.random.default_rng(1).integers(0, 5, 126)
    truth = Apart(*vars(near).values(), times[:6], times[6:]) if protocol == "tokyoTM" else near
    return queries, database, truth


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_recall_never_falls_with_n_and_the_protocol_is_named(protocol, panoramas, ranked):
    queries, database, truth = asked(protocol, panoramas)
    settings = RecallSettings(ns=["1:20"])
    ranking = ranked(protocol, queries, database, truth, 20)
    result = measure(protocol, ranking, truth, settings)
    recalls = [value for _, value in result.curve]
    assert recalls == sorted(recalls)
    assert (result.metrics["protocol"], result.metrics["radius_m"]) == (protocol, 25.0)


def test_how_deep_each_protocol_searches(panoramas, listed):
    near, lists = panoramas[2], listed[2]
    assert [depth(p, 20, near) for p in PROTOCOLS] == [20, 240, 200, 120]
    assert depth("plain", 20, lists) == 20 + lists.doubtful.counts().max()


def test_a_listed_set_has_no_radius_in_its_metrics(listed, ranked):
    queries, database, truth, _ = listed
    result = measure("plain", ranked("plain", queries, database, truth, 5), truth, NS)
    assert "radius_m" not in result.metrics


@pytest.mark.parametrize("part", [slice(0, 2), slice(2, 5), slice(3, 4), slice(5, 5)])
def test_a_part_of_the_truth_says_what_the_whole_says(part, listed):
    rows = np.random.default_rng(1).integers(0, 30, (5, 9))
    for truth in (listed[2], Near(np.random.default_rng(2).uniform(0, 50, (5, 2)),
                                  np.random.default_rng(3).uniform(0, 50, (30, 2)), 20.0),
                  timed(queries=5, database=30)):  # fmt: skip
        here = truth.take(part)
        assert here.is_right(rows[part]).tolist() == truth.is_right(rows)[part].tolist()
        assert here.is_doubtful(rows[part]).tolist() == truth.is_doubtful(rows)[part].tolist()
        assert here.counts().tolist() == truth.counts()[part].tolist()


# --- sessions, and errors in metres


def test_errors_in_metres_are_those_of_first_answers():
    queries, database = np.zeros((4, 2)), np.array([[3.0, 4.0], [0, 30], [0, 80]])
    found = metres_of(np.array([0, 1, 2, -1]), Near(queries, database, 25.0))
    assert found == {
        "median_error_m": 55.0,
        **{"within_5m": 0.25, "within_10m": 0.25, "within_25m": 0.25},
        **{"within_50m": 0.5, "within_100m": 0.75},
    }
    assert (
        metres_of(np.array([-1, -1, 0, -1]), Near(queries, database, 25.0))["median_error_m"]
        is None
    )
    assert metres_of(np.zeros(0, int), Near(queries[:0], database, 25.0)) == {}


def test_a_query_does_not_count_its_own_session_nor_those_nobody_can_answer(index_at):
    places = [(0, 0), (3, 0), (500, 0), (900, 0)]
    sessions = np.array(["a", "b", "a", "b"], object)
    database = queries = index_at(places, {"session": sessions})
    near = Near(queries.positions, database.positions, 25.0)
    truth = judged("sessions", near, database, queries)
    assert truth.counts().tolist() == [1, 1, 0, 0]
    assert truth.allowed.tolist() == [2, 2, 2, 2]
    rows = np.array([[1, 3], [2, 0], [1, 3], [0, 2]])
    ranking = Ranking(rows, np.ones((4, 2), np.float32), None)
    result = measure("sessions", ranking, truth, RecallSettings(ns=(1, 2)))
    assert result.metrics["recall@1"] == 0.5 and result.metrics["recall@2"] == 1.0
    assert result.metrics["denominator"] == "answerable"
    assert result.metrics["median_error_m"] == 250.0  # of 3 m and 497 m
    assert result.metrics["chance_recall@1"] == 0.25
    assert judged("sessions", near, index_at(places), queries) is near


def test_a_set_without_queries_has_no_recall_instead_of_zero(index_at):
    database = index_at([(0, 0), (1, 0)])
    truth = Near(np.zeros((0, 2)), database.positions, 25.0)
    none = Ranking(np.zeros((0, 2), int), np.zeros((0, 2), np.float32), None)
    result = measure("sessions", none, truth, RecallSettings(ns=(1, 2)))
    assert "recall@1" not in result.metrics and not result.is_near_chance
    assert result.sentence() == "no query, so nothing is known"
