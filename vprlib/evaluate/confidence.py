"""When to say 'I don't know': the score of a match, and how often such matches are right."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, field_validator

from vprlib.evaluate.intervals import IntervalSettings, with_ends
from vprlib.evaluate.predictions import Judgement
from vprlib.pipeline.json_files import read_json
from vprlib.pipeline.params import JsonObject, Metres, Section

DEPTH = 20  # results per query that a score uses: predictions always have as many
POINTS = 200  # of a curve
ScoreKind = Literal["similarity", "ratio"]
Precision = Annotated[float, Field(gt=0, le=1)]


class ConfidenceSettings(Section):
    """The `confidence` section; changing it runs `calibrate` and `confidence` alone."""

    # similarity: 1 − distance² / 2 of the first result
    # ratio: 1 − its distance / distance of the first result of another place
    score: ScoreKind = "ratio"
    distinct_m: Metres = 25.0  # results farther apart are different places
    # shares of right answers; below the score of the last one, `vpr find` says it does not know
    precisions: tuple[Precision, ...] = Field((1.0, 0.99, 0.95), min_length=1)

    @field_validator("precisions")
    @classmethod
    def _falling(cls, precisions: tuple[float, ...]) -> tuple[float, ...]:
        if any(b >= a for a, b in pairwise(precisions)):
            raise ValueError(f"precisions should fall, but are {list(precisions)}")
        return precisions


def similarity(distances: np.ndarray) -> np.ndarray:
    """Cosine similarity of unit vectors at these distances."""
    return 1 - distances**2 / 2


def match_scores(
    rows: np.ndarray,
    distances: np.ndarray,
    positions: np.ndarray,
    kind: ScoreKind,
    distinct_m: float,
) -> np.ndarray:
    """Score of each first result [Q], from the results [Q, K] and the database's positions.

    If all K results are of one place, the last one stands for another place; it is nearer, so the
    score can only be too low. The score is minus infinity where nothing was found.
    """
    is_there = rows >= 0
    first = distances[:, 0]
    if kind == "similarity":
        return np.where(is_there[:, 0], similarity(first), -np.inf)
    places = positions[np.maximum(rows, 0)]
    apart = np.linalg.norm(places - places[:, :1], axis=2)
    is_other = is_there & ~(apart <= distinct_m)  # unknown positions are different places
    is_other[:, 0] = False
    last = np.maximum(is_there.sum(axis=1) - 1, 0)
    second = np.where(is_other.any(axis=1), is_other.argmax(axis=1), last)
    beyond = distances[np.arange(len(rows)), second]
    with np.errstate(invalid="ignore", divide="ignore"):
        scores = np.where(beyond > 0, 1 - first / beyond, 0.0)
    return np.where(is_there[:, 0], scores, -np.inf)


@dataclass(frozen=True)
class Curve:
    """Precision and recall as the threshold falls, with a point for each distinct score."""

    thresholds: np.ndarray  # [T] falling; scores from here on give an answer
    precision: np.ndarray  # [T] share of the answers that are right
    recall: np.ndarray  # [T] share of the answerable queries with a right answer

    @property
    def area(self) -> float:
        """Area under the curve, by steps of recall."""
        return float((np.diff(self.recall, prepend=0.0) * self.precision).sum())

    def rows(self) -> list[tuple[float, float, float]]:
        """Recall, precision and threshold of at most POINTS points, evenly chosen."""
        points = np.stack([self.recall, self.precision, self.thresholds], axis=1)
        chosen = np.linspace(0, len(points) - 1, min(len(points), POINTS)).round().astype(int)
        return [tuple(row) for row in points[chosen].round(6).tolist()]

    def reaching(self, precision: float) -> tuple[float, float]:
        """The lowest threshold with at least this precision, and its recall; or inf and 0."""
        good = np.flatnonzero((self.precision >= precision) & (self.recall > 0))
        if not len(good):
            return np.inf, 0.0
        return float(self.thresholds[good[-1]]), float(self.recall[good[-1]])


def curve(scores: np.ndarray, is_right: np.ndarray, answerable: int) -> Curve:
    """From scores [Q] and whether each first result is right; equal scores share a point."""
    order = np.argsort(-scores, kind="stable")
    falling, right = scores[order], np.cumsum(is_right[order])
    is_last = np.append(falling[1:] != falling[:-1], True) & (falling > -np.inf)
    given, right = np.flatnonzero(is_last) + 1, right[is_last]
    return Curve(falling[is_last], right / given, right / max(1, answerable))


@dataclass(frozen=True)
class ScoredSet:
    """The scores of the queries of one set, and which first results are right."""

    set_name: str
    scores: np.ndarray  # [Q]
    is_right: np.ndarray  # [Q]
    is_answerable: np.ndarray  # [Q]

    @property
    def curve(self) -> Curve:
        return curve(self.scores, self.is_right, int(self.is_answerable.sum()))


def score_set(made: Judgement, score: ScoreKind, distinct_m: float) -> ScoredSet:
    f = made.found
    rows, distances = f.rows[:, :DEPTH], f.distances[:, :DEPTH]
    return ScoredSet(
        f.queries.set_name,
        match_scores(rows, distances, f.database.positions, score, distinct_m),
        f.right[:, 0],
        made.truth.counts() > 0,
    )


@dataclass(frozen=True)
class Thresholds:
    """From which score on answers were right, on the set that was calibrated on."""

    set: str
    thresholds: Mapping[str, float | None]  # by precision in per cent; None: not reached

    def level(self, score: float) -> str | None:
        """The highest precision in per cent whose threshold the score reaches."""
        reached = (p for p, t in self.thresholds.items() if t is not None and score >= t)
        return next(reached, None)

    def verdict(self, score: float) -> str:
        """What the score of an answer means, in words."""
        known = {p: t for p, t in self.thresholds.items() if t is not None}
        if not known:
            return f"I don't know: no score was sure enough on {self.set}"
        level = self.level(score)
        p, threshold = (level, known[level]) if level is not None else [*known.items()][-1]
        return self._sentence(score, p, threshold)

    def _sentence(self, score: float, precision: str, threshold: float) -> str:
        if score >= threshold:
            return (
                f"sure: of answers with a score of at least {threshold:.3f}, {precision} % were"
                f" right on {self.set}; this one has {score:.3f}"
            )
        return (
            f"I don't know: the score {score:.3f} is below {threshold:.3f}, above which"
            f" {precision} % were right on {self.set}"
        )


@dataclass(frozen=True)
class Calibration(Thresholds):
    """Thresholds of what a search gives: distances."""

    score: ScoreKind
    distinct_m: Annotated[float, Field(gt=0)]
    depth: Annotated[int, Field(ge=1, le=2**20)]  # results per query that a score uses
    curve: Sequence[Sequence[float]]  # recall and precision
    frames: Annotated[int, Field(ge=1)] = 1  # of the sequences that were searched

    def scores(self, rows: np.ndarray, distances: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """Score of each first result [Q], from results [Q, K] with K at least `depth`."""
        d = self.depth
        return match_scores(rows[:, :d], distances[:, :d], positions, self.score, self.distinct_m)


def thresholds_of(scored: ScoredSet, precisions: Sequence[float]) -> Thresholds:
    found = {f"{100 * p:g}": scored.curve.reaching(p)[0] for p in precisions}
    known = {p: t if np.isfinite(t) else None for p, t in found.items()}
    return Thresholds(scored.set_name, known)


def calibrate(scored: ScoredSet, settings: ConfidenceSettings, frames: int = 1) -> Calibration:
    curve = [row[:2] for row in scored.curve.rows()]
    found = thresholds_of(scored, settings.precisions)
    return Calibration(
        **vars(found),
        score=settings.score,
        distinct_m=settings.distinct_m,
        depth=DEPTH,
        curve=curve,
        frames=frames,
    )


def read_calibration(path: Path) -> Calibration:
    return read_json(path, Calibration)


def report(
    scored: ScoredSet, place: np.ndarray, calibration: Calibration, interval: IntervalSettings
) -> JsonObject:
    """What the calibrated thresholds give on this set, and what its own best ones would.

    `place` [Q] is the location of each query.
    """
    own, thresholds = scored.curve, calibration.thresholds
    known = {
        "score": calibration.score,
        "calibrated_on": calibration.set,
        "queries": len(scored.scores),
    }
    if not len(scored.scores):  # a share of nothing is no number
        return known
    return known | {
        "area": own.area,
        "recall_at_precision": {p: own.reaching(float(p) / 100)[1] for p in thresholds},
        "at_threshold": {
            p: {"threshold": t} | answers(scored, place, np.inf if t is None else t, interval)
            for p, t in thresholds.items()
        },
    }


def answers(
    scored: ScoredSet, place: np.ndarray, threshold: float, interval: IntervalSettings
) -> dict[str, float | int | None]:
    """Precision and recall of the answers with at least this score.

    Precision is None if there is no answer.
    """
    is_given = scored.scores >= threshold
    is_found = (scored.is_right & is_given)[scored.is_answerable]
    recall = with_ends("recall", is_found, place[scored.is_answerable], interval)
    names = ("precision", "precision_low", "precision_high")
    precision: Mapping[str, float | None] = dict.fromkeys(names)
    if is_given.any():
        right = scored.is_right[is_given]
        precision = with_ends("precision", right, place[is_given], interval)
    return {"answered": int(is_given.sum()), **precision, **recall}


def points_of(summary: JsonObject) -> dict[str, tuple[float, float]]:
    """Recall and precision at each threshold that gives any answer."""
    return {
        p: (at["recall"], at["precision"])
        for p, at in summary.get("at_threshold", {}).items()
        if at["precision"] is not None
    }


def sentence(summary: JsonObject, dataset: str) -> str:
    """One line: the area, and what the threshold of each precision gives here."""
    parts = []
    for p, at in summary["at_threshold"].items():
        if at["threshold"] is None:
            parts.append(f"{p} %: not reached on {summary['calibrated_on']}")
        elif at["precision"] is None:
            parts.append(f"{p} % (score {at['threshold']:.3f}): no answer")
        else:
            parts.append(
                f"{p} % (score {at['threshold']:.3f}): recall {at['recall']:.3f},"
                f" precision {at['precision']:.3f}"
            )
    on = summary["calibrated_on"]
    itself = " itself, which is optimistic" if on == dataset else ""
    return f"area {summary['area']:.3f}; calibrated on {on}{itself}: {'; '.join(parts)}"
