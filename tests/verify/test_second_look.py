"""What a second look is worth: recall before and after, scores, and the stages on a toy set."""

import json
from dataclasses import replace

import evaluated
import numpy as np
import pytest
import toy
import yaml

from vprlib.evaluate.confidence import ConfidenceSettings
from vprlib.evaluate.intervals import CompareSettings, IntervalSettings, difference_interval
from vprlib.evaluate.predictions import Judgement, Predictions
from vprlib.evaluate.recall import RecallSettings
from vprlib.pipeline import paths
from vprlib.places.truth import Near
from vprlib.verify.judge import (
    AGAIN,
    InlierThresholds,
    judge,
    read_inlier_thresholds,
    scored_by,
    sentence,
)
from vprlib.verify.rerank import Reranked

NAMES = (evaluated.SET, evaluated.VARIANT, "full")
QUERIES = 40
SETTINGS = ConfidenceSettings(precisions=(0.99, 0.9))


def judged(index_at, rank_of_right, inliers):
    """Queries 100 m apart; four database images each, of which one is right."""
    at = np.stack([100.0 * np.arange(QUERIES), np.zeros(QUERIES)], axis=1)
    database = np.concatenate([at + np.array([0.0, 5000.0 * n]) for n in range(4)])
    rows = np.arange(QUERIES)[:, None] + QUERIES * np.arange(1, 4)[None]
    rows = np.concatenate([rows, rows[:, :1]], axis=1)
    for query, rank in enumerate(rank_of_right):
        rows[query] = np.insert(rows[query, :3], rank, query)
    truth = Near(at, database, 25.0)
    distances = np.tile(np.linspace(0.5, 0.8, 4, dtype=np.float32), (QUERIES, 1))
    found = Predictions(rows, distances, truth.is_right(rows), index_at(at), index_at(database))
    ranks = np.argsort(-inliers, axis=1, kind="stable")
    moved = [np.take_along_axis(a, ranks, axis=1) for a in (rows, distances, inliers)]
    return Judgement(found, truth, "plain"), Reranked(*moved, ranks)


def report(made, again):
    scored = scored_by(made, again, SETTINGS)
    settings = RecallSettings(ns=(1, 2)), IntervalSettings(), SETTINGS.precisions
    return judge(made, again, scored, *settings)


def test_recall_before_and_after_and_their_difference(index_at):
    ranks = np.arange(QUERIES) % 2  # half of the first results are right
    inliers = np.tile([3, 2, 1, 0], (QUERIES, 1))
    inliers[np.arange(QUERIES), ranks] = 30
    inliers[0] = [1, 40, 0, 0]  # one is lost
    found = report(*judged(index_at, ranks, inliers))
    assert found["before"]["recall@1"] == 0.5
    assert found["after"]["recall@1"] == pytest.approx(39 / 40)
    change = found["difference"]["recall@1"]
    assert (change["gained"], change["lost"]) == (20, 1)
    before, after = ranks == 0, np.arange(QUERIES) > 0
    place = np.arange(QUERIES)
    same = difference_interval(before, after, place, IntervalSettings(), CompareSettings())
    assert (change["value"], change["low"], change["p"]) == (same.value, same.low, same.p)
    assert found["difference"]["recall@2"]["value"] == 0
    said = sentence(found)
    assert said.startswith("recall@1 0.500 → 0.975 (+0.475 [")
    assert "]): a second look helps; answered at 99 % precision by similarity 0.0 %, ratio" in said


def test_by_sessions_queries_that_nobody_could_answer_do_not_count(index_at):
    made, again = judged(index_at, np.zeros(QUERIES, int), np.tile([3, 2, 1, 0], (QUERIES, 1)))
    at = made.truth.queries.copy()
    at[:10] += 1e6
    plain = replace(made, truth=replace(made.truth, queries=at))
    assert report(plain, again)["before"]["recall@1"] == 0.75
    by_session = report(replace(plain, protocol="sessions"), again)
    for side in ("before", "after"):
        assert by_session[side]["recall@1"] == 1.0
        assert by_session[side]["denominator"] == "answerable"
        assert by_session[side]["location_m"] == 25.0


@pytest.mark.parametrize(
    ("gained", "lost", "word"),
    [
        (0, 15, "hurts;"),
        (0, 1, "changes little (not significant);"),
        (1, 0, "changes little (not significant);"),
    ],
)
def test_the_sentence_says_where_it_does_not_help(index_at, gained, lost, word):
    inliers = np.tile([30, 2, 1, 0], (QUERIES, 1))
    inliers[: gained + lost] = [1, 40, 0, 0]
    ranks = (np.arange(QUERIES) < gained).astype(int)
    found = report(*judged(index_at, ranks, inliers))
    assert f": a second look {word} answered" in sentence(found)


def test_inliers_of_the_first_result_and_of_the_new_one_are_two_scores(index_at):
    ranks = np.arange(QUERIES) % 2
    inliers = np.tile([3, 2, 1, 0], (QUERIES, 1))
    inliers[np.arange(QUERIES), ranks] = 30
    made, again = judged(index_at, ranks, inliers)
    made.found.rows[5] = again.rows[5] = again.inliers[5] = -1  # nothing was found
    scored = scored_by(made, again, SETTINGS)
    others = np.arange(QUERIES) != 5
    assert scored["inliers"].scores[others].tolist() == np.where(ranks, 3, 30)[others].tolist()
    assert set(scored[AGAIN].scores[others]) == {30} and scored[AGAIN].scores[5] == -np.inf
    assert (scored["inliers"].is_right == made.found.right[:, 0]).all()
    assert scored[AGAIN].is_right.all()
    found = report(made, again)["confidence"]
    assert found["inliers"]["at_precision"]["99"]["share"] == 0.5
    assert found["inliers"]["at_precision"]["99"]["threshold"] == 30
    assert found[AGAIN]["area"] > found["inliers"]["area"] > 0


def test_thresholds_of_inliers_give_a_verdict_in_inliers():
    known = InlierThresholds("city_val", {"100": None, "99": 24.0, "95": 15.0})
    assert known.verdict(54) == (
        "sure: of answers with at least 24 inliers, 99 % were right on city_val; this one has 54"
    )
    assert known.verdict(15).startswith("sure: of answers with at least 15 inliers, 95 % were")
    assert known.verdict(14) == (
        "I don't know: 14 inliers are fewer than 15, from which on 95 % were right on city_val"
    )
    assert known.verdict(-np.inf).startswith("I don't know: 0 inliers are fewer than 15")
    assert known.level(24) == "99" and known.level(3) is None
    none = InlierThresholds("city_val", {"99": None})
    assert none.verdict(99) == "I don't know: no score was sure enough on city_val"


@pytest.fixture
def here(made_here):
    """The evaluated toy, on whose walls a second look finds something."""
    tree = yaml.safe_load((made_here / "params.yaml").read_text())
    tree["rerank"].update(keypoints=200, short_side=[96, 96], top=5)
    tree["rerank_on"] = [evaluated.SET]
    (made_here / "params.yaml").write_text(yaml.safe_dump(tree))
    return made_here


def edit(here, place, **values):
    tree = node = yaml.safe_load((here / "params.yaml").read_text())
    for key in place.split("."):
        node = node[key]
    node.update(values)
    toy.write_params(here, tree)


def test_the_stages_write_the_same_bytes_whatever_the_threads(here, run):
    outputs = [paths.keypoints(evaluated.SET), paths.reranked(*NAMES)]
    outputs += [paths.inlier_thresholds(*NAMES), paths.result_metrics("rerank", *NAMES)]
    seen = set()
    for threads in (1, 3):
        edit(here, "runtime", threads=threads)
        said = run("keypoints", evaluated.SET)
        assert "toy_val, trained, full: 30 pairs in " in run("rerank", *NAMES)
        told = run("second_look", *NAMES)
        seen.add((told, *(path.read_bytes() for path in outputs)))
    assert len(seen) == 1
    assert said.startswith("toy_val: keypoints of an image: db ")
    assert "toy_val, trained, full: recall@1 " in told and ": a second look " in told
    found = json.loads(outputs[-1].read_text())
    before = json.loads(paths.result_metrics("recall", *NAMES).read_text())
    assert found["before"]["recall@1"] == before["recall@1"]
    assert set(found["confidence"]) == {"similarity", "ratio", "inliers", AGAIN}
    assert read_inlier_thresholds(outputs[2]).set == evaluated.SET


def test_an_image_that_changed_is_named(here, refused):
    image = sorted((here / "data/raw/toy").glob("000/*.jpg"))[0]
    image.write_bytes(image.read_bytes() + b"x")
    assert f"{image.name} has other content" in refused("keypoints", evaluated.SET)


@pytest.mark.parametrize(
    ("change", "stage", "said"),
    [
        ({"top": 0}, "rerank", "rerank.top is 0: input should be greater than or equal to 1"),
        ({"ratio": 1.5}, "rerank", "rerank.ratio is 1.5: input should be less than or equal to 1"),
        ({"keypoints": 10**6}, "keypoints", "rerank.keypoints is 1000000: input should be less"),
        ({"short_side": 240}, "keypoints", "rerank.short_side is 240: input should be a valid tup"),
        ({"sort": 3}, "keypoints", "rerank has no 'sort'; "),
    ],
)
def test_settings_that_cannot_be_are_one_sentence(here, refused, change, stage, said):
    edit(here, "rerank", **change)
    names = NAMES if stage == "rerank" else NAMES[:1]
    assert said in refused(stage, *names)
