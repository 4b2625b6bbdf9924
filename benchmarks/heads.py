"""Pools trained with triplets and with places in the city: `python -m benchmarks.heads`."""

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import h5py
import numpy as np
import typer
import yaml

from vprlib.cli.parts import KEPT, RADII, RECIPES
from vprlib.evaluate.intervals import (
    CompareSettings,
    IntervalSettings,
    difference_interval,
    share_interval,
)
from vprlib.pipeline import paths
from vprlib.pipeline.artifacts import write_json, write_text
from vprlib.places.geo import locations

ROOT = Path(__file__).parents[1]
SETS = {part: f"city_{part}" for part in ("train", "val", "test")}
RUN = (SETS["test"], "trained", "full")
# what the published sizes become on the city's images, whose maps have 8 rows and 10 columns
POOLS: dict[str, dict[str, object]] = {
    "netvlad": {},  # as in params.yaml
    "gem": {"kind": "gem", "gem_p": 3.0},
    "gem_fc": {"kind": "gem_fc", "dimensions": 512},
    "mixvpr": {"kind": "mixvpr", "map": [8, 10]},
    "boq": {"kind": "boq"},
    "netvlad_linear": {"kind": "netvlad_linear"},
}


@dataclass(frozen=True)
class Case:
    pool: str
    recipe: str  # triplets, or one of presets/parts/training.yaml
    seed: int

    @property
    def name(self) -> str:
        return f"{self.pool}-{self.recipe}-{self.seed}"


def main(
    folder: Path = typer.Argument(help="where to work, and to go on after a stop"),
    pools: str = typer.Option("netvlad,gem", help=f"of {', '.join(POOLS)}"),
    recipes: str = typer.Option(
        "triplets,places", help="the first is what others are held against"
    ),
    seeds: str = typer.Option("1,2,3", help="values of train.seed"),
    threads: int = typer.Option(2, help="as runtime.threads"),
) -> None:
    """Trains each pool by each recipe with each seed; what has been done is not done again.

    The table has recall@1 on city_test over all seeds with the interval over locations, the
    values of the seeds, the paired difference from the first recipe, and seconds and processor
    seconds of the stage `train` with an empty feature cache. On a busy machine, compare the latter,
    with OMP_WAIT_POLICY=passive.
    """
    for pool in pools.split(","):
        baseline: list[np.ndarray] = []
        for recipe in recipes.split(","):
            cases = [Case(pool, recipe, int(seed)) for seed in seeds.split(",")]
            hits = [_run(folder, case, threads) for case in cases]
            with h5py.File(folder / "common" / paths.index(SETS["test"], "queries")) as index:
                place = locations(index["positions"][:], IntervalSettings().location_m)
            results = [json.loads(_result(folder, case).read_text()) for case in cases]
            seconds = [mean(r[key] for r in results) for key in ("seconds", "processor")]
            baseline = baseline or hits
            print(_row(pool, recipe, hits, baseline, place, seconds), flush=True)


def _row(
    pool: str,
    recipe: str,
    hits: list[np.ndarray],
    baseline: list[np.ndarray],
    place: np.ndarray,
    seconds: list[float],
) -> str:
    """A row of a table in Markdown; a query is at one location with every seed."""
    settings = IntervalSettings()
    low, high = share_interval(np.mean(hits, axis=0), place, settings)
    values = ", ".join(f"{100 * run.mean():.1f}" for run in hits)
    recall = f"{100 * np.mean(hits):.1f} [{100 * low:.1f}, {100 * high:.1f}]"
    against = "–"
    if hits is not baseline:
        sides = (np.concatenate(side) for side in (baseline, hits))
        d = difference_interval(*sides, np.tile(place, len(hits)), settings, CompareSettings())
        against = f"{100 * d.value:+.1f} [{100 * d.low:+.1f}, {100 * d.high:+.1f}]"
    taken = " | ".join(f"{value:.0f}" for value in seconds[:2])
    return f"| {pool} | {recipe} | {recall} | {values} | {against} | {taken} |"


def _result(folder: Path, case: Case) -> Path:
    return folder / f"{case.name}.json"


def _run(folder: Path, case: Case, threads: int) -> np.ndarray:
    """Whether the first found image of each query is right [Q]."""
    result = _result(folder, case)
    if not result.exists():
        common = _prepared(folder, threads)
        work = folder / "work"
        shutil.rmtree(work, ignore_errors=True)
        (work / "artifacts").mkdir(parents=True)
        (work / "data").symlink_to((common / "data").resolve())
        shutil.copytree(common / "artifacts/features", work / "artifacts/features")
        _configure(work, threads, case)
        _stages(work, [f"init_model {SETS['train']}"])
        start, before = time.perf_counter(), _processor_seconds()
        _stages(work, [f"train {SETS['train']} {SETS['val']} off_the_shelf"])
        took = {"seconds": time.perf_counter() - start, "processor": _processor_seconds() - before}
        test = f"{SETS['test']} trained"
        _stages(work, [f"extract_db {test}", f"extract_queries {test}"])
        _stages(work, [f"search {test} full", f"recall {test} full"])
        with h5py.File(work / paths.predictions(*RUN)) as predictions:
            hits = predictions["hits"][:, 0].tolist()
        write_json(result, took | {"hits": hits})
    return np.array(json.loads(result.read_text())["hits"], bool)


def _processor_seconds() -> float:
    """Of all processes that were started here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _prepared(folder: Path, threads: int) -> Path:
    """The city, drawn and parsed, and its visual words: the same in all cases."""
    common = folder / "common"
    if not (common / "done.txt").exists():
        common.mkdir(parents=True, exist_ok=True)
        _configure(common, threads, Case("netvlad", "triplets", 1))
        _stages(common, [f"make_city {part}" for part in SETS])
        _stages(common, [f"parse_mat {name}" for name in SETS.values()])
        _stages(
            common,
            [f"{stage} {SETS['train']}" for stage in ("sample_features", "kmeans_centroids")],
        )
        write_text(common / "done.txt", "")
    return common


def _configure(work: Path, threads: int, case: Case) -> None:
    tree = yaml.safe_load((ROOT / "params.yaml").read_text())
    tree["model"]["pool"] = POOLS[case.pool] or tree["model"]["pool"]
    if case.recipe != "triplets":
        kept = {key: tree["train"][key] for key in (*KEPT, *RADII)}
        tree["train"] = kept | yaml.safe_load((ROOT / RECIPES).read_text())[case.recipe]
    tree["train"]["seed"] = case.seed
    tree["runtime"]["threads"] = threads
    write_text(work / "params.yaml", yaml.safe_dump(tree))


def _stages(work: Path, commands: list[str]) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    for command in commands:
        stage, *names = command.split()
        subprocess.run(
            [sys.executable, "-m", f"stages.{stage}", *names],
            cwd=work,
            env=environment,
            check=True,
            stdout=sys.stderr,
        )


if __name__ == "__main__":
    typer.run(main)
