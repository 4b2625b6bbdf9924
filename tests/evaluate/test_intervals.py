"""Confidence intervals: of shares, beside recalls, and of paired differences."""

import itertools

import numpy as np
import pytest
from pydantic import ValidationError
from scipy import stats
from vectors import pairs

from vprlib.evaluate import charts
from vprlib.evaluate.intervals import (
    CompareSettings,
    IntervalSettings,
    difference_interval,
    exchange_test,
    mean_of_groups,
    query_locations,
    score_interval,
    share_interval,
    with_ends,
    with_intervals,
)
from vprlib.evaluate.protocols import Ranking, measure
from vprlib.evaluate.recall import RecallSettings
from vprlib.places.truth import Listed, Near

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
    right, none = pairs([3, 4], [], [1], [3, 4], [], [3], [1]), pairs(*[[]] * 7)
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


COMPARE = CompareSettings()


def of(right_a, right_b, place, settings=COMPARE):
    return difference_interval(right_a, right_b, place, SETTINGS, settings)


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
    assert exchange_test(sums, COMPARE) == np.mean(np.array(ways) >= 7)


def test_many_locations_are_exchanged_as_a_loop_would():
    draw = np.random.default_rng(4)
    sums = draw.integers(-3, 5, 60)
    ways = [abs((draw.choice([-1, 1], 60) * sums).sum()) >= abs(sums.sum()) for _ in range(4000)]
    assert exchange_test(sums, COMPARE) == pytest.approx(np.mean(ways), abs=0.02)


def test_blocks_and_seeds_hardly_matter_and_one_seed_gives_one_value(monkeypatch):
    sums = np.random.default_rng(4).integers(-3, 4, 60)
    one = exchange_test(sums, COMPARE)
    assert exchange_test(sums, COMPARE) == one
    monkeypatch.setattr("vprlib.evaluate.intervals.BLOCK", 60 * 700)
    assert exchange_test(sums, COMPARE) == pytest.approx(one, abs=0.02)
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


def test_a_difference_of_a_location_counted_nine_times_is_hardly_more_than_once():
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


def test_the_share_of_nothing_is_a_number() -> None:
    nothing = np.zeros(0, bool)
    found = with_ends("recall", nothing, np.zeros(0, int), IntervalSettings())
    assert found == {"recall": 0.0, "recall_low": 0.0, "recall_high": 1.0}


def test_another_session_is_expected_to_be_like_the_mean_of_sessions():

    right = np.array([1, 1, 0, 1, 0, 0, 1, 1, 1, 1], bool)
    groups = np.array([*"aaabbbcccc"], object)
    mean, low, high = mean_of_groups(right, groups, IntervalSettings())
    shares = np.array([2 / 3, 1 / 3, 1.0])
    half = stats.t.ppf(0.975, 2) * shares.std(ddof=1) / np.sqrt(3)
    assert (mean, low, high) == pytest.approx((shares.mean(), max(0, mean - half), 1.0))
    assert mean_of_groups(right[:3], groups[:3], IntervalSettings()) == (2 / 3, 0.0, 1.0)


def test_the_interval_of_sessions_holds_the_mean_of_many_as_often_as_it_says():
    draw = np.random.default_rng(1)
    held = 0
    for _ in range(400):
        chances = draw.beta(6, 4, 5)  # of five sessions; the mean of all is 0.6
        groups = np.repeat(np.arange(5), 40)
        right = draw.random(200) < chances[groups]
        _, low, high = mean_of_groups(right, groups, IntervalSettings())
        held += low <= 0.6 <= high
    assert 0.92 <= held / 400 <= 0.98
