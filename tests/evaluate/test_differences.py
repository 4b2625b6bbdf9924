"""Paired differences: by hand, against loops, at the edges, and a planted one."""

import itertools

import numpy as np
import pytest
from scipy import stats

from vprlib.evaluate.intervals import (
    CompareSettings,
    IntervalSettings,
    difference_interval,
    exchange_test,
    score_interval,
)

INTERVAL, SETTINGS = IntervalSettings(), CompareSettings()


def of(right_a, right_b, place, settings=SETTINGS):
    return difference_interval(right_a, right_b, place, INTERVAL, settings)


def some(spots, each, share_a, share_b, seed=0):
    """Two runs whose answers go together by location."""
    draw = np.random.default_rng(seed)
    ease = np.repeat(draw.normal(0, 0.15, spots), each)
    noise = draw.random(spots * each)
    a, b = (noise < share + ease for share in (share_a, share_b))
    other = draw.random(spots * each) < share_b
    return a, np.where(draw.random(spots * each) < 0.2, other, b), np.arange(spots).repeat(each)


def test_three_locations_by_hand():
    a = np.array([1, 1, 0, 0, 0, 1], bool)
    b = np.array([1, 0, 1, 1, 1, 1], bool)
    found = of(a, b, np.array([0, 0, 0, 1, 1, 2]))
    assert found.value == pytest.approx(2 / 6)
    # sums 0, 2 and 0: of two exchanges both are as large
    assert (found.p, found.low <= 0 <= found.high) == (1.0, True)


def test_few_locations_are_exchanged_in_every_way():
    sums = np.array([3, -1, 2, 2, 0, 1])
    ways = [abs(np.dot(signs, sums)) for signs in itertools.product([-1, 1], repeat=6)]
    assert exchange_test(sums, SETTINGS) == np.mean(np.array(ways) >= 7)


def test_many_locations_are_exchanged_as_a_loop_would():
    draw = np.random.default_rng(4)
    sums = draw.integers(-3, 5, 60)
    ways = [abs((draw.choice([-1, 1], 60) * sums).sum()) >= abs(sums.sum()) for _ in range(4000)]
    assert exchange_test(sums, SETTINGS) == pytest.approx(np.mean(ways), abs=0.02)


def test_blocks_and_seeds_hardly_matter_and_one_seed_gives_one_value(monkeypatch):
    sums = np.random.default_rng(4).integers(-3, 4, 60)
    one = exchange_test(sums, SETTINGS)
    assert exchange_test(sums, SETTINGS) == one
    monkeypatch.setattr("vprlib.evaluate.intervals.BLOCK", 60 * 700)
    assert exchange_test(sums, SETTINGS) == pytest.approx(one, abs=0.02)
    assert exchange_test(sums, CompareSettings(seed=9)) == pytest.approx(one, abs=0.02)


def test_equal_runs_have_no_difference():
    right = np.random.default_rng(1).random(90) < 0.7
    found = of(right, right, np.arange(90) // 9)
    assert (found.value, found.p) == (0.0, 1.0)
    assert found.low == pytest.approx(-found.high) and found.high > 0


def test_exchanged_runs_have_the_mirrored_difference():
    a, b, place = some(40, 5, 0.6, 0.7)
    forth, back = of(a, b, place), of(b, a, place)
    assert (forth.value, forth.low, forth.high) == pytest.approx(
        (-back.value, -back.high, -back.low)
    )
    assert forth.p == pytest.approx(back.p, abs=0.02)


@pytest.mark.parametrize("planted", [0.1, -0.1])
def test_a_planted_difference_is_found(planted):
    draw = np.random.default_rng(3)
    right = draw.random(900) < 0.7
    changed = draw.permutation(np.flatnonzero(right != (planted > 0)))[:90]
    other = right.copy()
    other[changed] = planted > 0
    found = of(right, other, np.arange(900) // 9)
    assert found.value == pytest.approx(planted)
    assert found.low <= planted <= found.high
    assert found.low * found.high > 0  # zero is outside
    assert found.p < 0.001


def test_queries_that_are_alone_have_tangos_interval():
    gains = (np.arange(200) < 24).astype(float)
    losses = (np.arange(200) >= 190).astype(float)
    low, high = score_interval(gains, losses, np.ones(200, int), 0.95)
    z = stats.norm.ppf(0.975)
    for end in (low, high):  # Tango 1998, the share lost that is most likely under the end
        linear = -34 + (2 * 200 - 14) * end
        lost = (np.sqrt(linear**2 + 4 * 2 * 200 * 10 * end * (1 - end)) - linear) / 800
        variance = 200 * (2 * lost + end * (1 - end))
        assert abs(14 - 200 * end) / np.sqrt(variance) == pytest.approx(z, rel=0.03)
    assert low < 0.07 < high


def test_a_location_counted_nine_times_is_hardly_more_than_once():
    a, b, place = some(60, 1, 0.6, 0.75, seed=2)
    once = of(a, b, place)
    many = of(a.repeat(9), b.repeat(9), place.repeat(9))
    assert (many.low, many.high) == pytest.approx((once.low, once.high), abs=0.02)
    assert many.p == pytest.approx(once.p, abs=0.02)


def test_where_chance_explains_it_the_interval_holds_zero():
    none, five = np.zeros(300, bool), np.arange(300) < 5
    found = of(none, five, np.arange(300))
    assert score_interval(five.astype(float), none.astype(float), np.ones(300, int), 0.95)[0] > 0
    assert (found.p, found.low) == (2 / 2**5, 0.0)  # five coins that fall alike
    assert of(five, none, np.arange(300)).high == 0.0


def test_everything_gained_leaves_room_and_one_location_says_nothing():
    none, all_ = np.zeros(90, bool), np.ones(90, bool)
    found = of(none, all_, np.arange(90) // 9)
    assert (found.value, found.high) == (1.0, 1.0) and 0.2 < found.low < 1
    alone = of(none, all_, np.zeros(90, int))
    assert (alone.low, alone.high, alone.p) == (-1.0, 1.0, 1.0)


def test_no_difference_is_found_in_one_of_twenty_pairs():
    draw = np.random.default_rng(8)
    place, few = np.arange(315) // 9, CompareSettings(resamples=300)
    alarms = 0
    for _ in range(300):
        ease = np.repeat(draw.normal(0, 0.3, (35, 1)), 9, axis=1).ravel()
        own = draw.normal(0, 0.2, (2, 35)).repeat(9, axis=1)
        alarms += of(*(draw.random((2, 315)) < 0.7 + ease + own), place, few).p < 0.05
    assert 0.02 < alarms / 300 < 0.09
