"""What was evaluated of one set: each variant and code with its outcomes and scores."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np

from vprlib.cli import options
from vprlib.cli.choice import Choice
from vprlib.cli.comparison.runs import Run, check_comparable, run_of
from vprlib.cli.table import Metrics, Row
from vprlib.descriptors.files import opened
from vprlib.descriptors.quantisers import bytes_a_row
from vprlib.evaluate.confidence import Calibration, read_calibration, score_set
from vprlib.evaluate.failures import FailureSettings, Outcomes, outcomes
from vprlib.evaluate.intervals import CompareSettings, IntervalSettings
from vprlib.evaluate.predictions import Judgement, Predictions, read_judgement
from vprlib.evaluate.recall import RecallSettings
from vprlib.pipeline import paths
from vprlib.pipeline.params import At, JsonObject, UserError
from vprlib.pipeline.runtime import RuntimeSettings


class Params(options.InUse):
    train_on: Annotated[list[str], At("train_on")]
    recall: Annotated[RecallSettings, At("recall")]
    interval: Annotated[IntervalSettings, At("interval")]
    compare: Annotated[CompareSettings, At("compare")]
    failures: Annotated[FailureSettings, At("failures")]
    runtime: Annotated[RuntimeSettings, At("runtime")]


@dataclass(frozen=True)
class Result:
    """One variant and code of a set."""

    choice: Choice
    metrics: Metrics  # of `recall`
    scored: Judgement
    run: Run
    outcome: Outcomes
    calibration: Calibration | None  # None: `calibrate` has not run
    scores: np.ndarray | None  # [Q] of the first results
    incomparable: str | None = None  # why it cannot be compared with the first of its set

    @property
    def name(self) -> str:
        return f"{self.choice.variant}/{self.choice.code}"

    @property
    def found(self) -> Predictions:
        return self.scored.found


def read_results(rows: Sequence[Row], p: Params, params: dict[str, object]) -> list[Result]:
    """The results of one set, which share the names of its images."""
    results: list[Result] = []
    for row in rows:
        result = _read(row, p, params)
        results.append(_sharing(results[0], result) if results else result)
    return results


def _read(row: Row, p: Params, params: dict[str, object]) -> Result:
    *names, metrics = row
    choice = Choice(*names)
    index_dir = paths.index(choice.dataset, "db").parent
    scored = read_judgement(paths.predictions(*choice), index_dir)
    name = f"{choice.variant}/{choice.code}"
    run = run_of(name, scored, metrics, params)
    outcome = outcomes(scored.found, scored.truth, p.failures.near_miss)
    path = paths.calibration(choice.variant, choice.code)
    known = read_calibration(path) if path.exists() else None
    scores = score_set(scored, known.score, known.distinct_m).scores if known else None
    return Result(choice, metrics, scored, run, outcome, known, scores)


def _sharing(first: Result, result: Result) -> Result:
    """The result without its own copy of the index; says if it cannot be compared."""
    problem = None
    try:
        check_comparable(first.run, result.run)
    except UserError as error:
        problem = str(error)
    queries, database = first.found.queries, first.found.database
    found = replace(result.found, queries=queries, database=database)
    return replace(
        result,
        scored=replace(result.scored, found=found),
        run=replace(result.run, queries=queries, database=database),
        incomparable=problem,
    )


def sizes(choice: Choice) -> JsonObject:
    """Bytes of the network's file and of a descriptor, where the files are there."""
    network, stored = paths.model(choice.variant), paths.descriptors(*choice, "db")
    found: JsonObject = {}
    if network.exists():
        found["network_bytes"] = network.stat().st_size
    if stored.exists():
        with opened(stored) as rows:
            found["descriptor_bytes"] = bytes_a_row(rows)
    return found
