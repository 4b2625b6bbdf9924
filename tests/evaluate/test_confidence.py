"""When to say 'I don't know': the curve against a slow loop, thresholds, and what they say."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from vprlib.evaluate.charts import precision_recall
from vprlib.evaluate.confidence import (
    POINTS,
    ConfidenceSettings,
    ScoredSet,
    answers,
    calibrate,
    curve,
    match_scores,
    points_of,
    read_calibration,
    report,
    sentence,
    similarity,
)
from vprlib.evaluate.intervals import IntervalSettings, share_interval
from vprlib.pipeline.artifacts import write_json

SETTINGS, INTERVALS = ConfidenceSettings(), IntervalSettings()
PLACE = np.arange(400) // 4


def some(seed, count=80):
    """Queries whose scores tell something; many are equal, some have no right image."""
    generator = np.random.default_rng(seed)
    answerable = generator.random(count) < 0.9
    right = answerable & (generator.random(count) < 0.6)
    scores = np.round(generator.normal(0.3, 0.1, count) + 0.15 * right, 2)
    scores[3] = -np.inf  # nothing was found for it
    right[3] = False
    return ScoredSet("x_val", scores, right, answerable)


@pytest.mark.parametrize("seed", range(4))
def test_the_curve_equals_a_slow_loop_over_thresholds(seed):
    scored = some(seed)
    found = scored.curve
    thresholds = sorted({s for s in scored.scores.tolist() if s > -np.inf}, reverse=True)
    assert found.thresholds.tolist() == thresholds
    area, last = 0.0, 0.0
    for at, precision, recall in zip(thresholds, found.precision, found.recall, strict=True):
        given = [q for q, score in enumerate(scored.scores) if score >= at]
        right = sum(bool(scored.is_right[q]) for q in given)
        assert precision == pytest.approx(right / len(given))
        assert recall == pytest.approx(right / scored.is_answerable.sum())
        area += (recall - last) * precision
        last = recall
    assert found.area == pytest.approx(area)
    assert np.all(np.diff(found.recall) >= 0)


@pytest.mark.parametrize("precision", [1.0, 0.9, 0.7, 0.01])
def test_a_threshold_is_the_lowest_that_reaches_its_precision(precision):
    scored = some(7)
    threshold, recall = scored.curve.reaching(precision)
    best = 0.0, np.inf
    for at in scored.scores[scored.scores > -np.inf]:
        given = scored.scores >= at
        share = scored.is_right[given].mean()
        reached = (scored.is_right & given).sum() / scored.is_answerable.sum()
        if share >= precision and (reached, -at) > (best[0], -best[1]) and reached > 0:
            best = reached, at
    assert (recall, threshold) == pytest.approx(best)


def test_a_curve_by_hand():
    """Right, wrong, right, right of five answerable queries; the two last have one score."""
    scores = np.array([0.9, 0.8, 0.5, 0.5])
    found = curve(scores, np.array([True, False, True, True]), 5)
    assert found.thresholds.tolist() == [0.9, 0.8, 0.5]
    assert found.precision.tolist() == [1.0, 0.5, 0.75]
    assert found.recall == pytest.approx([0.2, 0.2, 0.6])
    assert found.area == pytest.approx(0.2 * 1.0 + 0.4 * 0.75)
    assert found.reaching(0.75) == (0.5, pytest.approx(0.6))
    assert found.reaching(0.76) == (0.9, pytest.approx(0.2))


def test_a_precision_that_is_never_reached_has_no_threshold():
    found = curve(np.array([0.9, 0.8]), np.array([False, True]), 2)
    assert found.reaching(0.9) == (np.inf, 0.0)
    scored = ScoredSet("v", np.array([0.9]), np.array([False]), np.array([True]))
    made = calibrate(scored, SETTINGS)
    assert set(made.thresholds.values()) == {None}
    assert made.verdict(5.0) == "I don't know: no score was sure enough on v"
    told = report(scored, PLACE[:1], made, INTERVALS)
    assert "100 %: not reached on v" in sentence(told, "t")
    assert told["at_threshold"]["95"]["answered"] == 0
    assert told["at_threshold"]["95"]["precision"] is None and points_of(told) == {}


@pytest.mark.parametrize("kind", ["similarity", "ratio"])
def test_scores_equal_a_slow_loop(kind):
    generator = np.random.default_rng(5)
    positions = generator.uniform(0, 200, (30, 2))
    positions[4] = np.nan
    rows = np.stack([generator.permutation(30)[:6] for _ in range(40)])
    rows[0, 2:], rows[1] = -1, -1
    distances = np.sort(generator.uniform(0.2, 1.4, (40, 6)), axis=1)
    distances[rows < 0] = np.inf
    distances[2] = 0.0  # copies all
    found = match_scores(rows, distances, positions, kind, 25.0)
    for query, score in enumerate(found):
        kept = [(r, d) for r, d in zip(rows[query], distances[query], strict=True) if r >= 0]
        if not kept:
            assert score == -np.inf
            continue
        first, nearest = kept[0]
        others = [
            d for r, d in kept[1:] if not np.hypot(*(positions[r] - positions[first])) <= 25.0
        ]
        second = others[0] if others else kept[-1][1]
        ratio = 1 - nearest / second if second > 0 else 0.0
        assert score == pytest.approx(ratio if kind == "ratio" else 1 - nearest**2 / 2)


def test_results_of_one_place_are_measured_by_the_last_of_them():
    positions = np.array([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]])
    found = match_scores(np.array([[0, 1, 2]]), np.array([[0.5, 0.6, 0.8]]), positions, "ratio", 25)
    assert found == pytest.approx([1 - 0.5 / 0.8])


def test_similarity_is_the_cosine_of_the_angle_between_unit_vectors():
    assert similarity(np.array([0.0, 2**0.5, 2.0])) == pytest.approx([1.0, 0.0, -1.0])
    one, other = np.array([0.6, 0.8]), np.array([1.0, 0.0])
    assert similarity(np.linalg.norm(one - other)) == pytest.approx(one @ other)


def test_what_is_calibrated_on_a_set_holds_on_it_and_is_told_of_another():
    val, test = some(1, 400), replace(some(2, 400), set_name="x_test")
    made = calibrate(val, SETTINGS)
    own = report(val, PLACE, made, INTERVALS)
    for asked, at in own["at_threshold"].items():
        assert at["precision"] >= float(asked) / 100
        assert at["recall"] == own["recall_at_precision"][asked]
    other = report(test, PLACE, made, INTERVALS)
    threshold = made.thresholds["95"]
    given = test.scores >= threshold
    told = other["at_threshold"]["95"]
    assert told["answered"] == given.sum() and told["threshold"] == threshold
    assert told["precision"] == test.is_right[given].mean()
    low, high = share_interval(test.is_right[given], PLACE[given], INTERVALS)
    assert (told["precision_low"], told["precision_high"]) == (low, high)
    assert told["recall"] == (test.is_right & given).sum() / test.is_answerable.sum()
    assert told["recall_low"] <= told["recall"] <= told["recall_high"]
    assert other["area"] == test.curve.area and other["calibrated_on"] == "x_val"
    assert "calibrated on x_val: " in sentence(other, "x_test")
    assert "calibrated on x_val itself, which is optimistic: " in sentence(own, "x_val")


def test_unanswerable_queries_spoil_precision_and_not_recall():
    scored = ScoredSet("v", np.array([0.9, 0.8]), *np.array([[1, 0], [1, 0]], bool))
    at = answers(scored, PLACE[:2], 0.0, INTERVALS)
    assert (at["precision"], at["recall"]) == (0.5, 1.0)


def test_a_calibration_is_read_as_written_and_says_what_a_score_means(tmp_path):
    scored = some(3, 300)
    made = calibrate(scored, SETTINGS)
    write_json(tmp_path / "c.json", vars(made))
    again = read_calibration(tmp_path / "c.json")
    known = [p for p, t in again.thresholds.items() if t is not None]
    lowest = again.thresholds[known[-1]]
    assert again.level(lowest) == made.level(lowest) and again.level(lowest) in known
    assert again.verdict(lowest).startswith(
        f"sure: of answers with a score of at least {lowest:.3f}"
    )
    assert again.level(lowest - 1e-6) is None
    assert again.verdict(lowest - 0.01).startswith(f"I don't know: the score {lowest - 0.01:.3f}")
    rows, positions = np.arange(40).reshape(2, 20), np.arange(80.0).reshape(40, 2) * 100
    distances = np.tile(np.linspace(0.2, 1.0, 20), (2, 1))
    deeper = np.hstack([rows, rows[::-1]])
    further = np.hstack([distances, distances])
    assert np.array_equal(
        again.scores(rows, distances, positions), again.scores(deeper, further, positions)
    )


def test_a_long_curve_is_drawn_by_some_of_its_points():
    generator = np.random.default_rng(1)
    found = curve(generator.random(5000), generator.random(5000) < 0.5, 4000)
    rows = found.rows()
    assert len(rows) == POINTS
    assert rows[0][2] == round(found.thresholds[0], 6) and rows[-1][0] == round(found.recall[-1], 6)


def test_the_chart_is_a_picture(tmp_path):
    val, test = some(1, 400), some(2, 400)
    made = calibrate(val, SETTINGS)
    told = report(test, PLACE, made, INTERVALS)
    chart = precision_recall(
        test.curve.rows(), "x_test", made.curve, "x_val", points_of(told), "title"
    )
    (tmp_path / "c.png").write_bytes(chart)
    assert Image.open(tmp_path / "c.png").size == (720, 504)
    assert chart == precision_recall(
        test.curve.rows(), "x_test", made.curve, "x_val", points_of(told), "title"
    )


@pytest.mark.parametrize("precisions", [(), (0.9, 0.95), (1.1,), (0.0,), (0.9, 0.9)])
def test_precisions_fall_from_one(precisions):
    with pytest.raises(ValidationError):
        ConfidenceSettings(precisions=precisions)
