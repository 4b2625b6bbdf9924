"""Intervals of shares: by hand, at the edges, and what they must obey."""

import numpy as np
import pytest
from pydantic import ValidationError
from scipy import stats

from vprlib.evaluate.intervals import IntervalSettings, share_interval

SETTINGS = IntervalSettings()


def slowly(right, place, level=0.95):
    """The same, location by location, by the formulas as they stand in books."""
    right, place = list(map(bool, right)), list(place)
    total, share = len(right), sum(right) / len(right)
    groups = {
        label: [r for r, p in zip(right, place, strict=True) if p == label] for label in place
    }
    worth = total**2 / sum(len(group) ** 2 for group in groups.values())  # locations of equal size
    quantile = stats.t.ppf((1 + level) / 2, worth - 1)
    between = sum(
        (sum(group) - share * len(group)) ** 2 / (1 - len(group) / total)
        for group in groups.values()
    )
    common = max(share, 1 - share)
    effect = (between + common * total / worth) / (total * share * (1 - share) + common)
    queries = total / effect
    denominator = 1 + quantile**2 / queries
    centre = (share + quantile**2 / (2 * queries)) / denominator
    root = (share * (1 - share) / queries + quantile**2 / (4 * queries**2)) ** 0.5
    return centre - quantile / denominator * root, centre + quantile / denominator * root


@pytest.mark.parametrize("level", [0.5, 0.95, 0.99])
@pytest.mark.parametrize("spots", [2, 9, 40])
def test_it_equals_the_loop_over_locations(spots, level):
    draw = np.random.default_rng(spots)
    place = np.concatenate([np.arange(spots), draw.integers(0, spots, 60)])
    right = draw.random(len(place)) < 0.7
    found = share_interval(right, place, IntervalSettings(level=level))
    assert found == pytest.approx(slowly(right, place, level))


def test_queries_that_are_all_alone_have_nearly_wilsons_interval():
    right = np.arange(400) < 300
    low, high = share_interval(right, np.arange(400), SETTINGS)
    assert (low, high) == pytest.approx((0.7053, 0.7900), abs=1e-3)  # Wilson: 0.7053, 0.7899


def test_a_location_counted_nine_times_is_hardly_more_than_once():
    once = np.arange(35) < 28
    low, high = share_interval(once, np.arange(35), SETTINGS)
    many = share_interval(once.repeat(9), np.arange(35).repeat(9), SETTINGS)
    assert many == pytest.approx((low, high), abs=0.01)
    alone = share_interval(once.repeat(9), np.arange(315), SETTINGS)
    assert alone[1] - alone[0] < 0.4 * (high - low)


@pytest.mark.parametrize("value", [True, False])
def test_all_or_none_right_keeps_a_width(value):
    low, high = share_interval(np.full(315, value), np.arange(35).repeat(9), SETTINGS)
    assert (low, high) == pytest.approx((0.894, 1.0) if value else (0.0, 0.106), abs=2e-3)


def test_one_location_says_nothing():
    assert share_interval(np.ones(50, bool), np.zeros(50, int), SETTINGS) == (0.0, 1.0)
    assert share_interval(np.zeros(0, bool), np.zeros(0, int), SETTINGS) == (0.0, 1.0)


def test_one_location_that_holds_nearly_all_says_next_to_nothing():
    place = np.array([0] * 5000 + [1])
    low, high = share_interval(np.arange(5001) % 2 == 0, place, SETTINGS)
    assert low < 0.05 and high > 0.95


def test_it_knows_no_order_of_queries_and_no_names_of_locations():
    draw = np.random.default_rng(1)
    right, place = draw.random(90) < 0.8, draw.integers(0, 12, 90)
    order = draw.permutation(90)
    found = share_interval(right, place, SETTINGS)
    assert share_interval(right[order], 1000 - 7 * place[order], SETTINGS) == pytest.approx(found)


def test_wrong_answers_have_the_mirrored_interval():
    draw = np.random.default_rng(2)
    right, place = draw.random(90) < 0.8, draw.integers(0, 12, 90)
    low, high = share_interval(right, place, SETTINGS)
    assert share_interval(~right, place, SETTINGS) == pytest.approx((1 - high, 1 - low))


@pytest.mark.parametrize("change", [{"level": 1.0}, {"level": 0}, {"location_m": 0}])
def test_settings_that_cannot_be_are_refused(change):
    with pytest.raises(ValidationError):
        IntervalSettings(**change)
