"""What a second look changes: recall, and how well inliers tell right answers from wrong ones."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from vprlib.evaluate.confidence import (
    ConfidenceSettings,
    ScoredSet,
    Thresholds,
    answers,
    score_set,
    thresholds_of,
)
from vprlib.evaluate.intervals import (
    CompareSettings,
    IntervalSettings,
    difference_interval,
    of_protocol,
    query_locations,
    with_intervals,
)
from vprlib.evaluate.predictions import Judgement
from vprlib.evaluate.protocols import counted_by
from vprlib.evaluate.recall import RecallSettings, Result, evaluate
from vprlib.pipeline.json_files import read_json
from vprlib.pipeline.params import JsonObject
from vprlib.verify.rerank import Reranked

AGAIN = "reranked"  # the score that counts the inliers of the first result after a second look


@dataclass(frozen=True)
class InlierThresholds(Thresholds):
    """How many inliers an answer should have, where the results are in the order of inliers."""

    def _sentence(self, score: float, precision: str, threshold: float) -> str:
        if score >= threshold:
            return (
                f"sure: of answers with at least {threshold:g} inliers, {precision} % were right"
                f" on {self.set}; this one has {score:g}"
            )
        return (
            f"I don't know: {max(score, 0):g} inliers are fewer than {threshold:g}, from which on"
            f" {precision} % were right on {self.set}"
        )


def read_inlier_thresholds(path: Path) -> InlierThresholds:
    return read_json(path, InlierThresholds)


def scored_by(
    made: Judgement, again: Reranked, settings: ConfidenceSettings
) -> dict[str, ScoredSet]:
    """The first result of each query by every score; the last one judges the new first results."""
    nearest = {kind: score_set(made, kind, settings.distinct_m) for kind in ("similarity", "ratio")}
    plain = nearest["similarity"]
    right = np.take_along_axis(made.found.right, again.ranks, axis=1)[:, 0]
    scores = (again.first_inliers(), again.inliers[:, 0])
    counted = [np.where(score >= 0, score.astype(float), -np.inf) for score in scores]
    return nearest | {
        "inliers": replace(plain, scores=counted[0]),
        AGAIN: replace(plain, scores=counted[1], is_right=right),
    }


def judge(
    made: Judgement,
    again: Reranked,
    scored: dict[str, ScoredSet],
    recall: RecallSettings,
    interval: IntervalSettings,
    precisions: Sequence[float],
) -> JsonObject:
    """Recall before and after with their difference, and the answers given by each score."""
    truth, found = made.truth, made.found
    recall = counted_by(made.protocol, recall)
    interval = of_protocol(interval, made.protocol, truth)
    place = query_locations(found.queries.positions, truth, interval.location_m)
    before, after = (
        with_intervals(evaluate(rows, truth, recall), place, truth.radius_m is None, interval)
        for rows in (found.rows, again.rows)
    )
    return {
        "before": before.metrics,
        "after": after.metrics,
        "difference": differences(before, after, place, interval),
        "confidence": {
            name: confidence(one, place, precisions, interval) for name, one in scored.items()
        },
    }


def differences(
    before: Result, after: Result, place: np.ndarray, interval: IntervalSettings
) -> JsonObject:
    """What is gained at each N, with its interval; `place` is [Q]."""
    counted, found = before.counted, {}
    for n, _ in before.curve:
        old, new = (np.any(side.right[counted, :n], axis=1) for side in (before, after))
        change = difference_interval(old, new, place[counted], interval, CompareSettings())
        moves = {"gained": int((new & ~old).sum()), "lost": int((old & ~new).sum())}
        found[f"recall@{n}"] = asdict(change) | moves
    return found


def confidence(
    scored: ScoredSet, place: np.ndarray, precisions: Sequence[float], interval: IntervalSettings
) -> JsonObject:
    """With this set's own thresholds, which is optimistic."""
    found: JsonObject = {"area": scored.curve.area, "at_precision": {}}
    for precision, threshold in thresholds_of(scored, precisions).thresholds.items():
        given = answers(scored, place, np.inf if threshold is None else threshold, interval)
        share = int(given["answered"] or 0) / max(1, len(scored.scores))
        found["at_precision"][precision] = {"threshold": threshold, "share": share, **given}
    return found


def sentence(found: JsonObject) -> str:
    """One line: whether a second look helps here, and the share of queries that is answered."""
    if not found["difference"]:
        return "no query, so nothing is known"
    (name, change), *_ = found["difference"].items()
    before, after = (found[side][name] for side in ("before", "after"))
    word = "helps" if change["low"] > 0 else "hurts" if change["high"] < 0 else "changes little"
    ends = f"[{change['low']:+.3f}, {change['high']:+.3f}]"
    scores = found["confidence"]
    level = min(scores[AGAIN]["at_precision"], key=lambda p: abs(float(p) - 99))
    shares = ", ".join(
        f"{score} {100 * of['at_precision'][level]['share']:.1f} %" for score, of in scores.items()
    )
    return (
        f"{name} {before:.3f} → {after:.3f} ({change['value']:+.3f} {ends}): a second look {word}"
        f"{' (not significant)' if word == 'changes little' else ''};"
        f" answered at {level} % precision by {shares}"
    )
