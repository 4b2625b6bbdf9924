"""What a second look changed: its results as a run of their own, and the numbers of its stage."""

from dataclasses import replace

import numpy as np

from vprlib.cli.choice import Choice
from vprlib.cli.comparison.runs import Files, run_of
from vprlib.cli.report.results import Params, Result, SecondLook, right_rows
from vprlib.evaluate.failures import outcomes
from vprlib.pipeline import paths
from vprlib.pipeline.json_files import read_json
from vprlib.pipeline.params import JsonObject, UserError
from vprlib.verify.judge import InlierThresholds, read_inlier_thresholds
from vprlib.verify.rerank import read_reranked

ADDED = "+ second look"  # to the name of the run


def with_second_look(files: Files, result: Result, p: Params, params: JsonObject) -> list[Result]:
    """The result, and after it the same after a second look, if there was one."""
    names = result.choice
    if names.dataset not in params.get("rerank_on", []):
        return [result]
    try:
        told_path = files(paths.result_metrics("rerank", *names))
        made_path = files(paths.reranked(*names))
    except UserError:  # the stages have not run
        return [result]
    told, again = read_json(told_path, JsonObject), read_reranked(made_path, result.found)
    right = np.take_along_axis(result.found.right, again.ranks, axis=1)
    found = replace(result.found, rows=again.rows, distances=again.distances, right=right)
    scored = replace(result.scored, found=found)
    outcome = outcomes(found, scored.truth, p.failures.near_miss)
    run = run_of(f"{result.name} {ADDED}", scored, result.metrics, result.run.params)
    first = again.inliers[:, 0]
    seen = replace(
        result,
        metrics={"protocol": result.metrics.get("protocol")} | told["after"],
        scored=scored,
        run=run,
        outcome=outcome,
        right=right_rows(scored, outcome),
        calibration=_thresholds(files, names._replace(dataset=str(params["calibrate_on"]))),
        scores=np.where(first >= 0, first.astype(float), -np.inf),
        kind="inliers",
        second_look=SecondLook(told, again.inliers),
    )
    return [result, seen]


def _thresholds(files: Files, choice: Choice) -> InlierThresholds | None:
    try:
        path = files(paths.inlier_thresholds(*choice))
    except UserError:
        return None
    return read_inlier_thresholds(path)
