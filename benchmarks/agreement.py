"""Whether other ways to compute find as much in the city: `python -m benchmarks.agreement`."""

import json
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import h5py
import numpy as np
import typer
import yaml

from vprlib.evaluate.intervals import CompareSettings, IntervalSettings, difference_interval
from vprlib.places.geo import locations

ROOT = Path(__file__).parents[1]
PREDICTIONS = "artifacts/predictions/city_test/trained-full.h5"


@dataclass(frozen=True)
class Way:
    """One run of the pipeline, what it changes in params.yaml, and the way that it is held against.

    Its numbers should differ from that one's by rounding, or not at all.
    """

    name: str
    changes: dict[str, object]  # by dotted place
    against: str = "as it is"


_PARTS = {"train.queries_a_step": 2, "train.accumulate": 2}
WAYS = (
    Way("as it is", {}),
    Way("bfloat16", {"train.precision": "bfloat16"}),
    Way("shared parts, two processes", {"runtime.processes": 2}),
    Way("whole parts", _PARTS),
    Way("whole parts, two processes", _PARTS | {"runtime.processes": 2}, "whole parts"),
)


def main(
    queries: int = typer.Option(1200, help="of city_test"),
    places: int = typer.Option(300, help="panoramas of city_test"),
    only: str = typer.Option("", help="part of a way's name; it is held against another"),
    device: str = typer.Option("cpu", help="as runtime.device"),
    threads: int | None = typer.Option(None, help="as runtime.threads"),
    folder: Path | None = typer.Option(None, help="where to work, and to go on"),
    json_path: Path | None = typer.Option(None, "--json"),
) -> None:
    """Trains and evaluates each way; recall@1 against another's, paired, by location."""
    chosen = [way for way in WAYS if only in way.name]
    needed = {name for way in chosen for name in (way.name, way.against)}
    ways = [way for way in WAYS if way.name in needed]
    part = {"places": places, "queries": queries}
    with tempfile.TemporaryDirectory() as temporary:
        project = folder or Path(temporary) / "project"
        runs = {way.name: _run(project, way, part, device, threads) for way in ways}
    settings, rows = IntervalSettings(), []
    for way in ways:
        (base, positions), (found, _) = runs[way.against], runs[way.name]
        place = locations(positions, settings.location_m)
        spots = len(np.unique(place))
        d = difference_interval(base, found, place, settings, CompareSettings())
        rows.append(
            {"name": way.name, "against": way.against, "queries": len(found), "locations": spots}
            | {"recall@1": float(found.mean()), "difference": d.value}
            | {"low": d.low, "high": d.high, "p": d.p}
        )
        print(
            f"{way.name}: recall@1 {found.mean():.4f} on {len(found)} queries of"
            f" {spots} locations; against '{way.against}' {d.value:+.4f}"
            f" [{d.low:+.4f}, {d.high:+.4f}], p {d.p:.3f}"
        )
    if json_path is not None:
        json_path.write_text(json.dumps({"cases": rows}, indent=2) + "\n")


def _run(
    project: Path, way: Way, test_part: dict[str, object], device: str, threads: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Whether the first found image is right [Q], and where the queries are [Q, 2].

    The stages' commands are those that dvc.lock has of the city; DVC itself is not needed.
    """
    for name in ("vprlib", "stages"):
        shutil.copytree(ROOT / name, project / name, dirs_exist_ok=True)
    tree = yaml.safe_load((ROOT / "params.yaml").read_text())
    tree["city"]["parts"]["test"].update(test_part)
    tree["runtime"].update(device=device, threads=threads)
    for place, value in way.changes.items():
        *above, name = place.split(".")
        node = tree
        for key in above:
            node = node[key]
        node[name] = value
    (project / "params.yaml").write_text(yaml.safe_dump(tree))
    done = project / "done.txt"
    for command in _commands():
        # the same in all ways: once is enough
        is_common = not re.search(r"stages\.train\b|\btrained\b", command)
        if is_common and done.exists() and command in done.read_text():
            continue
        start = time.perf_counter()
        arguments = [sys.executable, *shlex.split(command)[1:]]
        subprocess.run(arguments, cwd=project, check=True, stdout=sys.stderr)
        print(f"{way.name}: {time.perf_counter() - start:.1f} s  {command[:60]}", file=sys.stderr)
        with done.open("a") as file:
            file.write(command + "\n")
    with h5py.File(project / PREDICTIONS) as found:
        hits = found["hits"][:, 0]
    with h5py.File(project / "data/index/city_test/queries.h5") as index:
        return hits, index["positions"][:]


def made_at(dep: str, outs: Iterable[str]) -> list[str]:
    """The outputs that a dependency is, holds or lies in."""
    both = [(out, PurePosixPath(out)) for out in outs]
    path = PurePosixPath(dep)
    return [out for out, made in both if made.is_relative_to(path) or path.is_relative_to(made)]


def _commands() -> list[str]:
    """Of all stages that the trained network's recall needs, each after what it reads."""
    stages = yaml.safe_load((ROOT / "dvc.lock").read_text())["stages"]
    makers = {out["path"]: name for name, stage in stages.items() for out in stage.get("outs", ())}
    order: list[str] = []

    def add(name: str) -> None:
        for dep in stages[name].get("deps", ()):
            for path in made_at(dep["path"], makers):
                add(makers[path])
        if name not in order:
            order.append(name)

    add(makers[PREDICTIONS])
    return [stages[name]["cmd"] for name in order]


if __name__ == "__main__":
    typer.run(main)
