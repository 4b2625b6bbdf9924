"""Intervals beside recalls: their keys, their queries, and locations without positions."""

import numpy as np
import pytest

from vprlib.evaluate import charts
from vprlib.evaluate.intervals import (
    IntervalSettings,
    query_locations,
    share_interval,
    with_intervals,
)
from vprlib.evaluate.protocols import Ranking, measure
from vprlib.evaluate.recall import RecallSettings
from vprlib.places.geo import pairs_of
from vprlib.places.truth import Listed, Near

SETTINGS = IntervalSettings()
DATABASE = np.stack([50.0 * np.arange(24), np.zeros(24)], axis=1)


@pytest.fixture
def near():
    at = DATABASE[np.random.default_rng(1).integers(0, 24, 30)]
    return Near(at, DATABASE, 25.0)


def result(near, protocol="plain", **settings):
    draw = np.random.default_rng(2)
    rows = np.array([draw.permutation(24) for _ in range(30)])
    ranking = Ranking(rows, np.zeros(rows.shape, np.float32), None)
    return measure(protocol, ranking, near, RecallSettings(ns=(1, 5), **settings))


def test_each_recall_is_followed_by_its_ends(near):
    place = query_locations(near.queries, near, 1.0)
    found = with_intervals(result(near), place, False, SETTINGS)
    names = ["recall@1", "recall@1_low", "recall@1_high"]
    assert list(found.metrics)[:4] == [*names, "recall@5"]
    right = found.right[:, :5].any(axis=1)
    assert (found.metrics["recall@5_low"], found.metrics["recall@5_high"]) == found.ends[1]
    assert found.ends[1] == share_interval(right, place, SETTINGS)
    assert found.metrics["locations"] == len(np.unique(near.queries, axis=0))
    assert (found.metrics["location_m"], found.metrics["interval_level"]) == (1.0, 0.95)
    assert found.curve == result(near).curve
    low, high = found.ends[0]
    said = found.sentence()
    assert f"recall@1 {found.curve[0][1]:.3f} [{low:.3f}, {high:.3f}]  recall@5" in said
    assert f"30 queries at {found.metrics['locations']} locations (0 without" in said


def test_only_counted_queries_are_asked(near):
    far = near.queries.copy()
    far[:9] += 1e6
    truth = Near(far, DATABASE, 25.0)
    place = query_locations(far, truth, 1.0)
    found = with_intervals(result(truth, denominator="answerable"), place, False, SETTINGS)
    expected = share_interval(found.right[9:, 0], place[9:], SETTINGS)
    assert found.ends[0] == expected
    assert found.metrics["locations"] == len(np.unique(place[9:]))


def test_lights_have_intervals_of_their_own(near):
    place = query_locations(near.queries, near, 1.0)
    found = with_intervals(result(near, "tokyo247"), place, False, SETTINGS)
    night = found.metrics["night"]
    assert list(night)[:3] == ["recall@1", "recall@1_low", "recall@1_high"]
    expected = share_interval(found.right[2::3, 0], place[2::3], SETTINGS)
    assert (night["recall@1_low"], night["recall@1_high"]) == expected
    assert f"  night {night['recall@1']:.3f}/{night['recall@5']:.3f}" in found.sentence()


def test_without_positions_queries_of_the_same_images_are_one_location(near):
    lists = [[3, 4], [], [1], [3, 4], [], [3], [1]]
    right = pairs_of([np.array(rows, np.int64) for rows in lists])
    none = pairs_of([np.zeros(0, np.int64)] * 7)
    listed = Listed(right, none, none, 24)
    positions = np.full((7, 2), np.nan)
    assert query_locations(positions, listed, 1.0).tolist() == [0, 1, 2, 0, 3, 4, 2]
    found = with_intervals(result(near), np.arange(30), True, SETTINGS)
    assert (found.metrics["location_m"], found.metrics["locations"]) == (None, 30)


@pytest.mark.parametrize("ns", [[1], [1, 5, 10, 20], list(range(1, 21))])
def test_a_curve_is_drawn_with_its_band(ns):
    curve = [(n, 0.5 + n / 50) for n in ns]
    bare, banded = (
        charts.recall_curve(curve, [(r - width, r + width) for _, r in curve], "t")
        for width in (0.0, 0.1)
    )
    assert banded[:4] == b"\x89PNG" and banded != bare
