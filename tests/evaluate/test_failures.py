"""What became of each query, against a slow loop; slices, the worst, and rows for others."""

import csv
import io
import json
from itertools import combinations

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError
from vectors import pairs

from vprlib.evaluate.charts import plan
from vprlib.evaluate.failures import (
    CATEGORIES,
    HEADER,
    FailureSettings,
    analyse,
    as_rows,
    on_map,
    outcomes,
    right_answer,
    sentence,
    worst,
)
from vprlib.evaluate.gallery import GAP, LINE, TILE, misses
from vprlib.evaluate.intervals import IntervalSettings, share_interval
from vprlib.evaluate.predictions import Predictions
from vprlib.evaluate.slices import binned, heading_differences
from vprlib.pipeline.artifacts import write_csv
from vprlib.places.geo import locations
from vprlib.places.truth import Listed, Near

RADIUS = 25.0
SETTINGS, INTERVALS = FailureSettings(), IntervalSettings()
LIGHTS = np.array(["day", "dusk", "night"], dtype=object)


def searched(index_at, seed=0, queries=60, database=40, columns=6):
    """A street of 400 m, results in random order, some of them none at all."""
    generator = np.random.default_rng(seed)

    def side(count):
        at = np.stack([generator.uniform(0, 400, count), generator.uniform(0, 9, count)], axis=1)
        light = LIGHTS[generator.integers(0, 3, count)]
        return index_at(at, {"heading": generator.uniform(0, 360, count), "light": light})

    asked, known = side(queries), side(database)
    asked.positions[:6] += [0.0, 1000.0]  # of elsewhere
    rows = np.stack([generator.permutation(database)[:columns] for _ in range(queries)])
    rows[7, 3:] = -1
    rows[8] = -1
    rows[9:20, 0] = [np.abs(known.positions[:, 0] - x).argmin() for x in asked.positions[9:20, 0]]
    distances = np.sort(generator.uniform(0.3, 1.3, rows.shape), axis=1).astype(np.float32)
    truth = Near(asked.positions, known.positions, RADIUS)
    right = truth.is_right(np.maximum(rows, 0)) & (rows >= 0)
    return Predictions(rows, distances, right, asked, known), truth


@pytest.mark.parametrize("seed", range(5))
def test_categories_equal_a_slow_loop(index_at, seed):
    found, truth = searched(index_at, seed)
    became = outcomes(found, truth, SETTINGS.near_miss)
    for query, category in enumerate(became.names()):

        def metres(row, query=query):
            return np.hypot(*(found.database.positions[row] - found.queries.positions[query]))

        rights = [
            rank
            for rank, row in enumerate(found.rows[query], 1)
            if row >= 0 and metres(row) <= RADIUS
        ]
        first = found.rows[query, 0]
        if not any(metres(row) <= RADIUS for row in range(len(found.database))):
            expected = "unanswerable"
        elif first < 0:
            expected = "nothing_found"
        elif rights[:1] == [1]:
            expected = "correct"
        elif first >= 0 and metres(first) <= 2 * RADIUS:
            expected = "near_miss"
        elif rights:
            expected = "lower_rank"
        else:
            expected = "far"
        assert category == expected
        assert became.right_at[query] == (rights[0] if rights else 0)
    shares = analyse(found, truth, "plain", SETTINGS, INTERVALS).metrics["shares"]
    assert shares == {
        name: pytest.approx(became.names().count(name) / len(found.rows)) for name in CATEGORIES
    }


def test_every_category_comes_to_pass(index_at):
    names = {
        name
        for seed in range(5)
        for name in outcomes(*searched(index_at, seed), SETTINGS.near_miss).names()
    }
    assert names == set(CATEGORIES)


def test_twice_the_radius_is_near_and_more_is_far(index_at):
    at = [(0.0, 0.0), (50.0, 0.0), (50.01, 0.0)]
    asked, known = index_at([(0.0, 0.0)] * 3), index_at(at)
    rows = np.array([[0], [1], [2]])
    truth = Near(asked.positions, known.positions, RADIUS)
    found = Predictions(rows, np.ones((3, 1)), truth.is_right(rows), asked, known)
    assert outcomes(found, truth, 2.0).names() == ["correct", "near_miss", "far"]
    assert outcomes(found, truth, 3.0).names() == ["correct", "near_miss", "near_miss"]


def listed(index_at):
    """Ground truth without positions, as from a matrix."""
    nowhere = np.full((3, 2), np.nan)
    asked, known = index_at(nowhere), index_at(np.full((5, 2), np.nan))
    right, none = pairs([0], [4], []), pairs([], [], [])
    truth = Listed(right, none, right, 5)
    rows = np.array([[0, 1], [2, 4], [3, 1]])
    return Predictions(rows, np.ones((3, 2)), right.contain(rows), asked, known), truth


def test_without_positions_near_misses_are_not_known(index_at):
    found, truth = listed(index_at)
    a = analyse(found, truth, "plain", SETTINGS, INTERVALS)
    assert a.outcome.names() == ["correct", "lower_rank", "unanswerable"]
    assert a.metrics["shares"]["near_miss"] is None and a.metrics["slices"] == {}
    assert "near misses not known" in sentence(a.metrics["shares"])
    places, is_located = on_map(found, a.outcome, None)
    assert not is_located and [f["geometry"] for f in places["features"]] == [None] * 3
    json.dumps(places, allow_nan=False)
    assert next(iter(as_rows(found, a.outcome, a.facts))) == (
        "000.jpg", "correct", 1, "000.jpg", "1.000000", "", "", "", "", "", "", "", "",
    )  # fmt: skip
    assert right_answer(found, a.outcome, truth, 1) == (4, 2)
    plan(found.database.positions, found.queries.positions, a.outcome.names(), "x")


def test_heading_differences_equal_a_double_loop(index_at):
    found, truth = searched(index_at, 3)
    told = heading_differences(found, truth)
    for query in range(len(found.queries)):
        apart = []
        for row in range(len(found.database)):
            gap = found.queries.positions[query] - found.database.positions[row]
            if np.hypot(*gap) <= RADIUS:
                turn = abs(
                    found.queries.extra["heading"][query] - found.database.extra["heading"][row]
                )
                apart.append(min(turn, 360 - turn))
        if apart:
            assert told[query] == pytest.approx(min(apart))
        else:
            assert np.isnan(told[query])


def test_bins_hold_their_upper_edge_and_every_known_value_once():
    values = np.array([0.0, 2.0, 2.1, 25.0, 26.0, np.nan])
    parts = binned(values, (2.0, 5.0, 10.0, 25.0))
    assert {name: values[mask].tolist() for name, mask in parts.items()} == {
        "0-2": [0.0, 2.0],
        "2-5": [2.1],
        "10-25": [25.0],
        "over 25": [26.0],
    }
    assert not any((a & b).any() for a, b in combinations(parts.values(), 2))


def test_a_slice_has_the_recall_and_the_interval_of_its_queries(index_at):
    found, truth = searched(index_at)
    a = analyse(found, truth, "plain", SETTINGS, INTERVALS)
    place = locations(found.queries.positions, 1.0)
    for light in LIGHTS:
        mask = found.queries.extra["light"] == light
        right = a.outcome.is_correct[mask]
        low, high = share_interval(right, place[mask], INTERVALS)
        told = a.metrics["slices"]["light"][light]
        assert (told["queries"], told["recall@1"]) == (mask.sum(), right.mean())
        assert (told["low"], told["high"]) == (low, high) and low <= right.mean() <= high
    for name in ("heading_difference_deg", "nearest_database_m"):
        parts = a.metrics["slices"][name].values()
        known = 60 - 6 if name == "heading_difference_deg" else 60  # six have no right image
        assert sum(part["queries"] for part in parts) == known


def test_tokyo_has_its_lights_in_turn_and_time_stamps_give_the_time_of_day(index_at):
    found, truth = searched(index_at)
    del found.queries.extra["light"]
    parts = analyse(found, truth, "tokyo247", SETTINGS, INTERVALS).metrics["slices"]
    assert {k: v["queries"] for k, v in parts["light"].items()} == dict.fromkeys(
        ("day", "night", "sunset"), 20
    )
    stamps = [f"2015-06-{1 + i % 28:02}T{i % 24:02}:30:00" for i in range(60)]
    found.queries.extra["time"] = np.array(stamps, dtype=object)
    parts = analyse(found, truth, "plain", SETTINGS, INTERVALS).metrics["slices"]
    assert list(parts["time_of_day"]) == ["00-06 h", "06-12 h", "12-18 h", "18-24 h"]
    for unknown in (np.arange(60.0), np.array(["2015-06-01"] * 60, object), [*stamps[:59], "x"]):
        found.queries.extra["time"] = np.array(unknown, dtype=getattr(unknown, "dtype", object))
        parts = analyse(found, truth, "plain", SETTINGS, INTERVALS).metrics["slices"]
        assert "time_of_day" not in parts


def test_the_worst_are_the_surest_wrong_answers_at_most_one_a_location(index_at):
    found, truth = searched(index_at)
    became = outcomes(found, truth, 2.0)
    place = np.arange(60) // 2
    chosen = worst(found, became, place, 5)
    wrong = [q for q in range(60) if became.names()[q] in ("lower_rank", "far") and q != 8]
    expected = []
    for query in sorted(wrong, key=lambda q: found.distances[q, 0]):
        if place[query] not in [place[q] for q in expected]:
            expected.append(query)
    assert chosen == expected[:5] and worst(found, became, place, 0) == []


def test_the_right_answer_is_the_best_ranked_or_else_the_nearest(index_at):
    found, truth = searched(index_at)
    became = outcomes(found, truth, 2.0)
    for query in worst(found, became, np.arange(60), 60):
        row, rank = right_answer(found, became, truth, query)
        metres = np.linalg.norm(found.database.positions - found.queries.positions[query], axis=1)
        assert metres[row] <= RADIUS
        if rank:
            assert found.rows[query, rank - 1] == row and not found.right[query, : rank - 1].any()
        else:
            assert row == metres.argmin() and not found.right[query].any()


def test_rows_are_read_back_as_a_csv(index_at, tmp_path):
    found, truth = searched(index_at)
    a = analyse(found, truth, "plain", SETTINGS, INTERVALS)
    write_csv(tmp_path / "rows.csv", HEADER, as_rows(found, a.outcome, a.facts))
    with (tmp_path / "rows.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["category"] for row in rows] == a.outcome.names()
    assert [row["query"] for row in rows] == found.queries.names
    assert rows[8]["first"] == rows[8]["distance"] == rows[8]["metres"] == ""
    for query in range(9, 60):
        there = (float(rows[query]["first_easting"]), float(rows[query]["first_northing"]))
        here = (float(rows[query]["easting"]), float(rows[query]["northing"]))
        assert np.hypot(*np.subtract(there, here)) == pytest.approx(
            float(rows[query]["metres"]), abs=1e-3
        )


def test_the_picture_has_a_row_a_miss_of_query_wrong_and_right(source_of, noise, index_at):
    pictures = [noise(seed, 80, 60) for seed in range(5)]
    at = np.array([(0.0, 0.0), (300.0, 0.0), (4.0, 0.0)])
    database = source_of(pictures[:3], at, "database")
    asked = source_of(pictures[3:], np.zeros((2, 2)), "queries")
    truth = Near(np.zeros((2, 2)), at, RADIUS)
    rows = np.array([[1, 2, 0], [1, -1, -1]])
    right = truth.is_right(np.maximum(rows, 0)) & (rows >= 0)
    found = Predictions(rows, np.full((2, 3), 0.5), right, asked.index, database.index)
    became = outcomes(found, truth, 2.0)
    page = Image.open(io.BytesIO(misses([0, 1], found, became, truth, asked, database, "x")))
    assert page.width == GAP + 3 * (TILE[0] + GAP)
    pixels = np.asarray(page.convert("RGB")).astype(int)
    top = 2 * GAP + LINE
    down = (page.height - top) // 2
    shown = [[3, 1, 2], [4, 1, 0]]  # the second right answer is the nearest: none was kept
    for row, line in enumerate(shown):
        for column, number in enumerate(line):
            left = GAP + column * (TILE[0] + GAP)
            tile = pixels[top + row * down : top + row * down + TILE[1], left : left + TILE[0]]
            wanted = np.asarray(Image.fromarray(pictures[number]).resize(TILE)).astype(int)
            assert np.abs(tile - wanted).mean() < 12, (row, column)
    none = Image.open(io.BytesIO(misses([], found, became, truth, asked, database, "x")))
    assert none.height == top


@pytest.mark.parametrize("edges", [(), (5.0, 5.0), (0.0, 5.0), (9.0, 3.0)])
def test_edges_that_do_not_rise_are_refused(edges):
    with pytest.raises(ValidationError, match=r"positive and rise|at least 1"):
        FailureSettings(heading_deg=edges)


def test_a_near_miss_is_farther_than_the_radius():
    with pytest.raises(ValidationError, match="greater than 1"):
        FailureSettings(near_miss=1.0)
