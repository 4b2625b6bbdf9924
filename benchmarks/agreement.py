"""Whether other ways to compute find as much in the city: `python -m benchmarks.agreement`."""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import typer
import yaml

from vprlib.differences import CompareSettings, difference_interval
from vprlib.intervals import IntervalSettings
from vprlib.locations import locations

ROOT = Path(__file__).parents[1]
PREDICTIONS = "artifacts/predictions/city_test/trained-full.h5"


@dataclass(frozen=True)
class Way:
    """One run of the pipeline, and what it changes in params.yaml."""

    name: str
    changes: dict[str, object]  # by dotted place


WAYS = (
    Way("float32, one process", {}),
    Way("bfloat16", {"recipes.city.train.precision": "bfloat16"}),
    Way("two processes", {"runtime.processes": 2}),
)


def main(
    queries: int = typer.Option(1200, help="of city_test"),
    places: int = typer.Option(300, help="panoramas of city_test"),
    only: str = typer.Option("", help="part of a way's name, beside the first"),
    json_path: Path | None = typer.Option(None, "--json"),
) -> None:
    """Trains and evaluates each way; recall@1 against the first, paired, by location."""
    ways = [WAYS[0], *(way for way in WAYS[1:] if only in way.name)]
    part = {"places": places, "queries": queries}
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder) / "project"
        _copy(project)
        hits, positions = zip(*(_run(project, way, part) for way in ways), strict=True)
    settings = IntervalSettings()
    place = locations(positions[0], settings.location_m)
    spots = len(np.unique(place))
    rows = []
    for way, found in zip(ways, hits, strict=True):
        d = difference_interval(hits[0], found, place, settings, CompareSettings())
        rows.append(
            {"name": way.name, "queries": len(found), "locations": spots}
            | {"recall@1": float(found.mean()), "difference": d.value}
            | {"low": d.low, "high": d.high, "p": d.p}
        )
        print(
            f"{way.name}: recall@1 {found.mean():.4f} on {len(found)} queries of"
            f" {spots} locations, difference {d.value:+.4f} [{d.low:+.4f}, {d.high:+.4f}],"
            f" p {d.p:.3f}"
        )
    if json_path is not None:
        json_path.write_text(json.dumps({"cases": rows}, indent=2) + "\n")


def _copy(project: Path) -> None:
    """The project's code, values and paths, without data."""
    project.mkdir()
    for name in ("vprlib", "stages", ".dvc/config", "dvc.yaml", ".dvcignore", ".gitignore"):
        source, target = ROOT / name, project / name
        target.parent.mkdir(exist_ok=True)
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, target)
    subprocess.run(["git", "init", "-q", project], check=True)


def _run(project: Path, way: Way, part: dict[str, object]) -> tuple[np.ndarray, np.ndarray]:
    """Whether the first found image is right [Q], and where the queries are [Q, 2]."""
    tree = yaml.safe_load((ROOT / "params.yaml").read_text())
    tree["city"]["parts"]["test"].update(part)
    for place, value in way.changes.items():
        *above, name = place.split(".")
        node = tree
        for key in above:
            node = node[key]
        node[name] = value
    (project / "params.yaml").write_text(yaml.safe_dump(tree))
    _dvc(project, ["repro", "recall@city_test-trained-full"])
    if "runtime" in str(way.changes):  # listed by no stage, so nothing is stale by it
        _dvc(project, ["repro", "-f", "-s", "train"])
        _dvc(project, ["repro", "recall@city_test-trained-full"])
    with h5py.File(project / PREDICTIONS) as found:
        hits = found["hits"][:, 0]
    with h5py.File(project / "data/index/city_test/queries.h5") as index:
        return hits, index["positions"][:]


def _dvc(project: Path, arguments: Sequence[str]) -> None:
    subprocess.run(["dvc", *arguments], cwd=project, check=True, stdout=sys.stderr)


if __name__ == "__main__":
    typer.run(main)
