"""What was evaluated of one set: each variant and code with its outcomes and scores."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any

import numpy as np

from vprlib.cli import options
from vprlib.cli.choice import Choice
from vprlib.cli.comparison.runs import Files, Run, check_comparable, read_made, run_of
from vprlib.cli.table import Metrics, Row, read_metrics
from vprlib.evaluate.confidence import Calibration, Thresholds, read_calibration, score_set
from vprlib.evaluate.failures import FailureSettings, Outcomes, outcomes
from vprlib.evaluate.intervals import CompareSettings, IntervalSettings
from vprlib.evaluate.predictions import Judgement, Predictions
from vprlib.evaluate.recall import RecallSettings
from vprlib.images.index import ImageIndex
from vprlib.pipeline import paths
from vprlib.pipeline.params import At, JsonObject, UserError
from vprlib.pipeline.paths import existing
from vprlib.pipeline.runtime import RuntimeSettings
from vprlib.places.truth import Truth

BLOCK = 1000  # queries whose right images are looked up at once


class Params(options.InUse):
    train_on: Annotated[list[str], At("train_on")]
    recall: Annotated[RecallSettings, At("recall")]
    interval: Annotated[IntervalSettings, At("interval")]
    compare: Annotated[CompareSettings, At("compare")]
    failures: Annotated[FailureSettings, At("failures")]
    runtime: Annotated[RuntimeSettings, At("runtime")]


@dataclass(frozen=True)
class SecondLook:
    """What the stage `second_look` says of a run, and the inliers of each result."""

    metrics: JsonObject  # before, after, and the paired difference
    inliers: np.ndarray  # [Q, K]


@dataclass(frozen=True)
class Result:
    """One variant and code of a set, of the workspace or of another revision."""

    choice: Choice
    metrics: Metrics  # of `recall`
    scored: Judgement
    run: Run
    outcome: Outcomes
    right: np.ndarray  # [Q] the database image to show as right, or -1
    calibration: Thresholds | None = None  # None: `calibrate` has not run
    scores: np.ndarray | None = None  # [Q] of the first results
    kind: str | None = None  # of score
    incomparable: str | None = None  # why it cannot be compared with the first of its set
    revision: str | None = None  # None: the workspace
    second_look: SecondLook | None = None  # that the results are in the order of

    @property
    def name(self) -> str:
        return self.run.name

    @property
    def found(self) -> Predictions:
        return self.scored.found


def read_results(rows: Sequence[Row], p: Params, params: JsonObject) -> list[Result]:
    """The results of one set, which share the names of its images."""
    results: list[Result] = []
    for *names, _ in rows:
        result = read_result(existing, Choice(*names), p, params)
        results.append(_sharing(results[0], result) if results else result)
    return results


def read_result(
    files: Files, choice: Choice, p: Params, params: JsonObject, revision: str | None = None
) -> Result:
    """One result of a revision, with its own copy of the index."""
    scored = read_made(files, choice)
    metrics = read_metrics(files(paths.result_metrics("recall", *choice)))
    name = f"{choice.variant}/{choice.code}"
    run = run_of(name if revision is None else f"{revision}:{name}", scored, metrics, params)
    outcome = outcomes(scored.found, scored.truth, p.failures.near_miss)
    right = right_rows(scored, outcome)
    result = Result(choice, metrics, scored, run, outcome, right, revision=revision)
    known = _calibration(files, choice)
    if known is None:
        return result
    scores = score_set(scored, known.score, known.distinct_m).scores
    return replace(result, calibration=known, scores=scores, kind=known.score)


def _calibration(files: Files, choice: Choice) -> Calibration | None:
    try:
        path = files(paths.calibration(choice.variant, choice.code))
    except UserError:
        return None
    return read_calibration(path)


def right_rows(scored: Judgement, outcome: Outcomes) -> np.ndarray:
    """The right image to show for each query [Q]: the first one found, else the nearest; or -1."""
    rows, missed = scored.found.rows, np.flatnonzero(outcome.right_at == 0)
    rank = np.maximum(outcome.right_at - 1, 0)[:, None]
    shown = np.take_along_axis(rows, rank, axis=1)[:, 0]
    shown[missed] = nearest_right(scored.found, scored.truth, missed)
    return shown


def nearest_right(found: Predictions, truth: Truth, queries: np.ndarray) -> np.ndarray:
    """The nearest right database image of these queries, or -1; the first where lists decide."""
    nearest = np.full(len(queries), -1)
    for start in range(0, len(queries), BLOCK):
        part = queries[start : start + BLOCK]
        pairs = truth.take(part).positives()
        of = pairs.queries()
        offsets = found.database.positions[pairs.rows] - found.queries.positions[part][of]
        order = np.lexsort((np.nan_to_num(np.linalg.norm(offsets, axis=1)), of))
        first, at = np.unique(of[order], return_index=True)
        nearest[start + first] = pairs.rows[order][at]
    return nearest


def _sharing(first: Result, result: Result) -> Result:
    """The result without its own copy of the index; says if it cannot be compared."""
    problem = None
    try:
        check_comparable(first.run, result.run)
    except UserError as error:
        problem = str(error)
    return replace(on_index(result, first.found.database, first), incomparable=problem)


def on_index(result: Result, database: ImageIndex, first: Result) -> Result:
    """The result with the queries of the first one, and with this database."""
    queries = first.found.queries
    found = replace(result.found, queries=queries, database=database)
    run = replace(result.run, queries=queries, database=database)
    return replace(result, scored=replace(result.scored, found=found), run=run)


def merged(database: ImageIndex, other: ImageIndex) -> tuple[ImageIndex, np.ndarray]:
    """Both databases in one, and where the rows of the other are in it; -1 stays -1."""
    known = {key: row for row, key in enumerate(_keys(database))}
    keys = _keys(other)
    new = [row for row, key in enumerate(keys) if key not in known]
    known |= {keys[row]: len(database) + at for at, row in enumerate(new)}
    places = np.array([*(known[key] for key in keys), -1])
    if not new:
        return database, places
    added = other.take(np.array(new))
    arrays: dict[str, Any] = {
        field.name: np.concatenate([getattr(side, field.name) for side in (database, added)])
        for field in fields(database)
        if isinstance(getattr(database, field.name), np.ndarray)
    }
    extra = {
        name: np.concatenate([values, added.extra[name]])
        for name, values in database.extra.items()
        if name in added.extra
    }
    names = [*database.names, *added.names]
    return replace(database, names=names, **arrays, extra=extra, hashes=None), places


def _keys(index: ImageIndex) -> list[tuple[str, int, bytes]]:
    """An image with other pixels or at another place is another one."""
    at = [position.tobytes() for position in index.positions]
    return list(zip(index.names, index.digests.tolist(), at, strict=True))
