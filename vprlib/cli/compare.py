"""Tells what changed between runs, and whether chance explains it."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from vprlib.cli.compare_stats import change, check_seeds, moves, over_seeds
from vprlib.cli.report import pairs_screen, seeds_screen
from vprlib.cli.runs import (
    Run,
    check_comparable,
    other_database,
    other_params,
    read_run,
    spelled,
)
from vprlib.evaluate.intervals import CompareSettings, IntervalSettings, share_interval
from vprlib.evaluate.recall import RecallSettings
from vprlib.pipeline import command
from vprlib.pipeline.artifacts import write_json
from vprlib.pipeline.params import At, StageParams, UserError

Answer = dict[str, object]


class Params(StageParams):
    eval_on: Annotated[list[str], At("eval_on")]
    variants: Annotated[list[str], At("variants")]
    recall: Annotated[RecallSettings, At("recall")]
    interval: Annotated[IntervalSettings, At("interval")]
    compare: Annotated[CompareSettings, At("compare")]


def kept_ns(ns: Sequence[int], runs: Sequence[Run]) -> list[int]:
    """Those N for which every run kept enough results."""
    least = min(runs, key=lambda run: run.right.shape[1])
    kept = [n for n in ns if n <= least.right.shape[1]]
    if not kept:
        raise UserError(
            f"{least.name} kept {least.right.shape[1]} results a query, too few for"
            f" recall@{min(ns)}: ask for a smaller N."
        )
    return kept


def asked(runs: Sequence[Run], dataset: str, settings: IntervalSettings) -> Answer:
    """What is the same for all of the runs."""
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


def recalls(run: Run, ns: Sequence[int], place: np.ndarray, settings: IntervalSettings) -> Answer:
    """The run's recall at each N with the ends of its interval."""
    found = {f"recall@{n}": run.found(n)[run.counted] for n in ns}
    ends = {name: share_interval(r, place[run.counted], settings) for name, r in found.items()}
    return {
        name: {"value": float(right.mean()), "low": ends[name][0], "high": ends[name][1]}
        for name, right in found.items()
    }


def pair(a: Run, b: Run, ns: Sequence[int], at: int, place: np.ndarray, p: Params) -> Answer:
    """What B answers otherwise than A; queries are named at one N."""
    changes = {
        n: change(a.found(n), b.found(n), a.counted, place, p.interval, p.compare)
        for n in sorted({*ns, at})
    }
    shown = changes[at]
    return {
        "from": a.name,
        "to": b.name,
        "params": {key: list(values) for key, values in other_params(a, b).items()},
        "database": other_database(a, b),
        "same_predictions": np.array_equal(a.rows, b.rows),
        "differences": {
            f"recall@{n}": {
                **asdict(found.difference),
                **{kind: len(getattr(found, kind)) for kind in KINDS},
            }
            for n, found in changes.items()
        },
        "ranks": asdict(moves(a.right, b.right, a.counted)),
        "at": at,
        **{kind: named(a, getattr(shown, kind)) for kind in KINDS if kind != "both_right"},
    }


KINDS = ("gained", "lost", "both_right", "both_wrong")


def named(run: Run, rows: np.ndarray) -> list[Answer]:
    """Queries by their place in the specification, from 0, and by name."""
    return [{"query": row, "name": run.queries.names[row]} for row in rows.tolist()]


def compared(runs: Sequence[Run], dataset: str, at: int, p: Params) -> Answer:
    """Each run against the first."""
    first, *others = runs
    for other in others:
        check_comparable(first, other)
    ns = kept_ns(p.recall.ns, runs)
    kept_ns([at], runs)
    place = first.locations(p.interval.location_m)
    return {
        **asked(runs, dataset, p.interval),
        "resamples": p.compare.resamples,
        "runs": [{"name": run.name, **recalls(run, ns, place, p.interval)} for run in runs],
        "pairs": [pair(first, other, ns, at, place, p) for other in others],
    }


def averaged(runs: Sequence[Run], dataset: str, p: Params) -> Answer:
    """The runs as one experiment with several seeds."""
    seeds = check_seeds(runs)
    first, place = runs[0], runs[0].locations(p.interval.location_m)[runs[0].counted]
    found = {
        f"recall@{n}": over_seeds([r.found(n)[first.counted] for r in runs], place, p.interval)
        for n in kept_ns(p.recall.ns, runs)
    }
    return {
        **asked(runs, dataset, p.interval),
        "runs": [run.name for run in runs],
        "seeds": seeds,
        "recalls": {name: asdict(value) for name, value in found.items()},
    }


def main(
    runs: list[str] = typer.Argument(help="two or more; the others are held against the first"),
    dataset: str | None = typer.Option(None, "--set", help="default: the first of eval_on"),
    at: int = typer.Option(1, min=1, help="the N at which queries are gained and lost"),
    names: bool = typer.Option(False, "--list", help="name the queries gained and lost"),
    seeds: bool = typer.Option(False, help="the runs differ in seeds: mean, spread, intervals"),
    json_path: Path | None = typer.Option(None, "--json", help="a file for all of it as JSON"),
) -> None:
    """Compares runs query by query: differences and their intervals, queries gained and lost.

    A run is a variant of the workspace (trained, trained/w512), a git revision or a DVC experiment
    (HEAD~1, longer), or one of its variants (HEAD~1:off_the_shelf, longer:trained/w512). What is
    left out is trained, and the first of codes.
    """
    if len(runs) < 2:
        raise UserError(f"name two runs at least, such as off_the_shelf trained; got {runs[0]}.")
    p = Params.load()
    dataset = dataset or p.eval_on[0]
    found = [read_run(spelled(text, p.variants), dataset) for text in runs]
    answer = averaged(found, dataset, p) if seeds else compared(found, dataset, at, p)
    if json_path is not None:
        write_json(json_path, answer)
    typer.echo(seeds_screen(answer) if seeds else pairs_screen(answer, names))


if __name__ == "__main__":
    command.run(main)
