"""Compares runs query by query: the command `vpr compare`."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

import numpy as np
import typer

from vprlib.cli import options
from vprlib.cli.choice import choose
from vprlib.cli.comparison.report import pairs_report, seeds_report
from vprlib.cli.comparison.runs import (
    Run,
    check_comparable,
    database_difference,
    different_params,
    parse_run,
    read_run,
)
from vprlib.cli.comparison.stats import change, check_seeds, moves, over_seeds
from vprlib.cli.options import InUse
from vprlib.cli.output import echo_json
from vprlib.evaluate.intervals import CompareSettings, IntervalSettings, share_interval
from vprlib.evaluate.recall import RecallSettings
from vprlib.pipeline.params import At, JsonObject, UserError


class Params(InUse):
    recall: Annotated[RecallSettings, At("recall")]
    interval: Annotated[IntervalSettings, At("interval")]
    compare: Annotated[CompareSettings, At("compare")]


def kept_ns(ns: Sequence[int], runs: Sequence[Run]) -> list[int]:
    """The Ns for which every run kept enough results."""
    least = min(runs, key=lambda run: run.right.shape[1])
    kept = [n for n in ns if n <= least.right.shape[1]]
    if not kept:
        raise UserError(
            f"{least.name} kept {least.right.shape[1]} results per query, too few for"
            f" recall@{min(ns)}: ask for a smaller N."
        )
    return kept


def conditions(runs: Sequence[Run], dataset: str, settings: IntervalSettings) -> JsonObject:
    """What all runs have in common: the set, the rules and the queries."""
    first, place = runs[0], runs[0].locations(settings.location_m)
    return {
        "set": dataset,
        "protocol": first.protocol,
        "radius_m": first.radius_m,
        "denominator": first.denominator,
        "queries": len(first.queries),
        "counted": int(first.counted.sum()),
        "locations": len(np.unique(place[first.counted])),
        "location_m": settings.location_m,
        "interval_level": settings.level,
    }


def recalls(
    run: Run, ns: Sequence[int], place: np.ndarray, settings: IntervalSettings
) -> JsonObject:
    """The recall of a run at each N with its confidence interval."""
    answer: JsonObject = {}
    for n in ns:
        right = run.found(n)[run.counted]
        low, high = share_interval(right, place[run.counted], settings)
        answer[f"recall@{n}"] = {"value": float(right.mean()), "low": low, "high": high}
    return answer


def pair(a: Run, b: Run, ns: Sequence[int], at: int, place: np.ndarray, p: Params) -> JsonObject:
    """How B differs from A; gained and lost queries are listed for one N, `at`."""
    changes = {
        n: change(a.found(n), b.found(n), a.counted, place, p.interval, p.compare)
        for n in sorted({*ns, at})
    }
    shown = changes[at].queries
    return {
        "from": a.name,
        "to": b.name,
        "params": {key: list(values) for key, values in different_params(a, b).items()},
        "database": database_difference(a, b),
        "same_predictions": np.array_equal(a.rows, b.rows),
        "differences": {
            f"recall@{n}": asdict(found.difference)
            | {kind: len(rows) for kind, rows in found.queries.items()}
            for n, found in changes.items()
        },
        "ranks": asdict(moves(a.right, b.right, a.counted)),
        "at": at,
        **{kind: named(a, rows) for kind, rows in shown.items() if kind != "both_right"},
    }


def named(run: Run, rows: np.ndarray) -> list[JsonObject]:
    """Queries by row, from 0, and by name."""
    return [{"query": row, "name": run.queries.names[row]} for row in rows.tolist()]


def compared(runs: Sequence[Run], dataset: str, at: int, p: Params) -> JsonObject:
    """Every other run compared with the first."""
    first, *others = runs
    for other in others:
        check_comparable(first, other)
    ns = kept_ns(p.recall.ns, runs)
    kept_ns([at], runs)
    place = first.locations(p.interval.location_m)
    return {
        **conditions(runs, dataset, p.interval),
        "resamples": p.compare.resamples,
        "runs": [{"name": run.name, **recalls(run, ns, place, p.interval)} for run in runs],
        "pairs": [pair(first, other, ns, at, place, p) for other in others],
    }


def averaged(runs: Sequence[Run], dataset: str, p: Params) -> JsonObject:
    """The runs as repetitions of one experiment with other seeds."""
    seeds = check_seeds(runs)
    first, place = runs[0], runs[0].locations(p.interval.location_m)[runs[0].counted]
    found = {
        f"recall@{n}": over_seeds([r.found(n)[first.counted] for r in runs], place, p.interval)
        for n in kept_ns(p.recall.ns, runs)
    }
    return {
        **conditions(runs, dataset, p.interval),
        "runs": [run.name for run in runs],
        "seeds": seeds,
        "recalls": {name: asdict(value) for name, value in found.items()},
    }


def main(
    runs: Annotated[list[str], typer.Argument(help="two or more runs; the first is the baseline")],
    dataset: options.Dataset = None,
    at: Annotated[int, typer.Option(min=1, help="the N that --list is for")] = 1,
    names: Annotated[bool, typer.Option("--list", help="list the queries gained and lost")] = False,
    seeds: Annotated[
        bool, typer.Option("--seeds", help="average runs that differ only in their seeds")
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """Compare runs query by query, and test whether the difference is significant.

    A run is a variant of the workspace (trained, trained/w512), a git revision or a DVC experiment
    (HEAD~1, longer), or a variant of one of these (HEAD~1:off_the_shelf, longer:trained/w512). The
    default variant is trained, and the default code is the first of codes.
    """
    if len(runs) < 2:
        raise UserError(f"name at least two runs, such as off_the_shelf trained; got {runs[0]}.")
    p = Params.load()
    specs = [parse_run(text, p.variants) for text in runs]
    if dataset is None or all(spec.revision is None for spec in specs):
        dataset = choose(dataset, None, None).dataset
    found = [read_run(spec, dataset) for spec in specs]
    answer = averaged(found, dataset, p) if seeds else compared(found, dataset, at, p)
    if as_json:
        echo_json(answer)
    else:
        typer.echo(seeds_report(answer) if seeds else pairs_report(answer, names))
