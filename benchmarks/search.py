"""Measures search, exact and approximate: `python -m benchmarks.search [--only NAME …]`.

Each case runs in a process of its own, whose memory is the peak of what Linux calls its
proportional share, its children included. Descriptors lie in a file below `--folder`.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import faiss
import h5py
import numpy as np
import typer

from benchmarks.memory import watching
from vprlib.descriptors.settings import IndexSettings, SearchSettings
from vprlib.images.index import read_index
from vprlib.pipeline.artifacts import writing_hdf5
from vprlib.pipeline.runtime import RuntimeSettings
from vprlib.places.truth import read_truth
from vprlib.search.approximate import Approximate
from vprlib.search.exact import search_parts
from vprlib.search.faiss_index import build
from vprlib.search.faiss_training import IndexRequest
from vprlib.search.request import Searcher, SearchRequest, collect

search = partial(collect, search_parts)

COUNT = 20  # neighbours of a query
NOISE = 0.8  # of a query beside the descriptor that it repeats, as long as that
ROUNDS = 7  # of each in turn, and the fastest counts: others may use the machine
BLOCK = 2**26  # numbers drawn at once
PITTSBURGH = (83_952, 8_280)  # pitts250k-test: database images and queries
SMALL = (20_000, 2_000)
# Faiss's string, descriptors to train on, how it is asked, and how much is measured again
INDEXES = (
    ("IVF4096,PQ64x4fs", 160_000, "nprobe=32", 4),
    ("IVF4096,SQ8", 160_000, "nprobe=32", 2),
)
CITY_INDEXES = (
    ("PCAR56,PQ56x4fs", "", 0),
    # for a test city of 300 places and more
    ("PCAR80,PQ80x4fs", "", 0),
    ("PCAR96,PQ96x4fs", "", 0),
    ("PCAR112,PQ112x4fs", "", 0),
    ("PCAR128,PQ128x4fs", "", 0),
    ("PCA64,Flat", "", 0),
    ("PCA64,Flat", "", 1),
    ("IVF32,Flat", "nprobe=8", 0),
)
CITY_ROUNDS, CITY_IMAGES = 100, 880  # so many rounds for so many images, of milliseconds each
CITY = Path("artifacts/descriptors/city_test/trained/full")
INDEX = Path("data/index/city_test")
MILLION = (1_000_000, 2_000)
NEAR, INSIDE = (100_000, 100), 1_000  # images and queries; images that may be found
SURFACE, IMAGES, VIEW, LIGHT = 24, 4, 0.5, 0.5
Case = dict[str, object]


def described(path: Path, database: int, queries: int, dim: int, kind: str) -> None:
    """Random unit vectors; query i repeats database row 7 i, and noise hides it."""
    step = max(1, BLOCK // dim)
    with writing_hdf5(path) as file:
        stored = file.create_dataset("database", (database, dim), kind)
        asked = file.create_dataset("queries", (queries, dim), kind)
        for start in range(0, database, step):
            rows = directions(min(step, database - start), dim, 1, start)
            stored[start : start + len(rows)] = rows.astype(kind)
        for start in range(0, queries, step):
            part = np.arange(start, min(start + step, queries))
            rows = np.array([stored[(7 * row) % database] for row in part], np.float32)
            rows += NOISE * directions(len(part), dim, 2, start)
            asked[part] = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(kind)


def directions(count: int, dim: int, *seed: int) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((count, dim), np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def places(path: Path, database: int, queries: int, dim: int = 512) -> None:
    """Descriptors of places that blur into one another, as a long drive's do.

    A place is a point of a curved surface of `SURFACE` dimensions in `dim`: z, random and normal,
    goes through a layer of tanh to a vector. An image sees its place from elsewhere (z + VIEW · n)
    and in other light (noise in all dimensions, as long as LIGHT of the vector). The database has
    `IMAGES` images a place, in random order; a query is one more image of a random place. The noise
    is such that exact search finds the place of two queries in three.
    """
    generator = np.random.default_rng(7)
    hidden = generator.standard_normal((SURFACE, 256), np.float32) / np.sqrt(SURFACE)
    out = generator.standard_normal((256, dim), np.float32) / 16
    centres = generator.standard_normal((database // IMAGES, SURFACE), np.float32)
    sides = {
        "database": generator.permutation(np.arange(database) % len(centres)),
        "queries": generator.integers(0, len(centres), queries),
    }
    with writing_hdf5(path) as file:
        for number, (side, labels) in enumerate(sides.items()):
            file[f"{side}_places"] = labels
            target = file.create_dataset(side, (len(labels), dim), np.float32)
            for start in range(0, len(labels), 50_000):
                draw = np.random.default_rng([8, number, start])
                z = centres[labels[start : start + 50_000]]
                z = z + VIEW * draw.standard_normal(z.shape, np.float32)
                rows = np.tanh(z @ hidden) @ out
                rows /= np.linalg.norm(rows, axis=1, keepdims=True)
                noise = draw.standard_normal(rows.shape, np.float32) / np.sqrt(dim)
                rows += LIGHT * noise
                target[start : start + len(rows)] = rows / np.linalg.norm(
                    rows, axis=1, keepdims=True
                )


def exact(path: str, memory_gib: float) -> Case:
    """Exact search within a budget; every query must find the row that it repeats."""
    runtime = RuntimeSettings(memory_gib=memory_gib)
    with h5py.File(path) as file:
        start = time.perf_counter()
        sides, budget = (file["queries"], file["database"]), (runtime.memory_bytes, runtime.cores)
        found = search(SearchRequest(*sides, COUNT, *budget))
        seconds = time.perf_counter() - start
        repeated = 7 * np.arange(len(found.rows)) % len(file["database"])
    assert (found.rows[:, 0] == repeated).all() and (np.diff(found.distances) >= 0).all()
    return {"seconds": seconds}


def flat(path: str) -> Case:
    """Exact search against Faiss's flat index, both in memory, equal threads; and from the file."""
    runtime = RuntimeSettings()
    budget = runtime.memory_bytes, runtime.cores
    faiss.omp_set_num_threads(runtime.cores)
    with h5py.File(path) as file:
        sides = file["queries"], file["database"]
        queries, database = (side[:].astype("f4") for side in sides)
        index = faiss.IndexFlatL2(database.shape[1])
        index.add(database)
        ways = {
            "seconds": lambda: search(SearchRequest(queries, database, COUNT, *budget)).distances,
            "flat_s": lambda: np.sqrt(index.search(queries, COUNT)[0]),
            "file_s": lambda: search(SearchRequest(*sides, COUNT, *budget)).distances,
        }
        rounds = [{name: seconds(way) for name, way in ways.items()} for _ in range(ROUNDS)]
        best = {name: min(taken[name] for taken in rounds) for name in ways}
        apart = [np.abs(ways[k]() - ways["flat_s"]()).max() for k in ("seconds", "file_s")]
    return {
        **best,
        "ratio": best["seconds"] / best["flat_s"],
        "file_ratio": best["file_s"] / best["flat_s"],
        "distances_apart": float(max(apart)),
    }


def restricted(path: str, inside: int) -> Case:
    """Exact search of all rows of the file against that of some: in one run, or scattered."""
    runtime = RuntimeSettings()
    budget = runtime.memory_bytes, runtime.cores
    with h5py.File(path) as file:
        database, asked = file["database"], file["queries"][:].astype("f4")
        middle = len(database) // 2
        some = np.random.default_rng(1).permutation(len(database))[:inside]
        rows = {"all": None, "run": np.arange(middle, middle + inside), "scattered": some}
        taken = {}
        for queries in (asked[:1], asked):
            ways = {
                f"{name}_{len(queries)}_s": partial(
                    search, SearchRequest(queries, database, COUNT, *budget, None, among)
                )
                for name, among in rows.items()
            }
            rounds = [{name: seconds(way) for name, way in ways.items()} for _ in range(ROUNDS)]
            taken |= {name: min(one[name] for one in rounds) for name in ways}
    count = len(asked)
    ratios = {
        f"{name}_{n}_ratio": taken[f"{name}_{n}_s"] / taken[f"all_{n}_s"]
        for name in ("run", "scattered")
        for n in (1, count)
    }
    return taken | ratios


def approximate(
    path: str,
    factory: str,
    train: int,
    parameters: str,
    refine: int,
    rounds: int = ROUNDS,
    exact_rounds: int = 1,
) -> Case:
    """An index built from the file and asked, against exact search of the file: equal threads, and
    one batch of queries in memory."""
    runtime = RuntimeSettings()
    budget = runtime.memory_bytes, runtime.cores
    with tempfile.TemporaryDirectory(dir=Path(path).parent) as folder, h5py.File(path) as file:
        queries, database = file["queries"][:], file["database"]
        settings = IndexSettings(factory=factory, train=train, seed=1)
        index = Approximate(
            Path(folder) / "index", SearchSettings(parameters=parameters, refine=refine)
        )
        start = time.perf_counter()
        facts = build(index.path, IndexRequest("benchmark", database, settings, *budget))
        build_s = time.perf_counter() - start

        def asked(searcher: Searcher) -> tuple[float, float]:
            """Seconds, and the share of the queries whose first image shows their place."""
            start = time.perf_counter()
            found = collect(searcher, SearchRequest(queries, database, COUNT, *budget))
            taken = time.perf_counter() - start
            return taken, float(is_right(file, found.rows[:, 0]).mean())

        opening, _ = asked(index)  # it stays open
        one, recall = min(asked(index) for _ in range(rounds))
        other, exact_recall = min(asked(search_parts) for _ in range(exact_rounds))
        return {
            "seconds": one,
            "exact_s": other,
            "ratio": one / other,
            "recall@1": recall,
            "exact_recall@1": exact_recall,
            "of_exact": recall / exact_recall,
            "ms_a_query": 1000 * one / len(queries),
            "first_s": opening,
            "build_s": build_s,
            "bytes_an_image": facts.bytes / len(database),
        }


def is_right(file: h5py.File, first: np.ndarray) -> np.ndarray:
    """Whether the first image of each query [Q] shows its place."""
    if "right" in file:
        return file["right"][:][np.arange(len(first)), first]
    return file["database_places"][:][first] == file["queries_places"][:]


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measured(work: Callable[..., Case], *arguments: object) -> Case:
    """What the function gives in a process of its own, and the peak of its memory."""
    code = (
        "import importlib, json, sys; _, path, module, name, arguments = sys.argv;"
        " sys.path[:] = json.loads(path); work = getattr(importlib.import_module(module), name);"
        " print(json.dumps(work(*json.loads(arguments))))"
    )
    module = work.__module__.replace("__main__", "benchmarks.search")
    where = [json.dumps(sys.path), module, work.__name__, json.dumps(arguments)]
    command = [sys.executable, "-c", code, *where]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    with child, watching(child.pid) as peak:
        said, _ = child.communicate()
    if child.returncode:
        raise RuntimeError(f"{work.__name__} failed")
    return {**json.loads(said.splitlines()[-1]), "peak_bytes": 1024 * peak.kib}


def exact_cases(
    folder: Path, dim: int, budgets: list[float], queries: int, database: int
) -> Iterator[Case]:
    path = folder / f"{dim}.h5"
    described(path, database, queries, dim, "f2")
    for budget in budgets:
        found = measured(exact, str(path), budget)
        ratio = found["peak_bytes"] / (budget * 2**30)
        name = f"exact {database}x{dim} float16, {queries} queries, {budget:g} GiB"
        yield {"name": name, **found, "ratio": ratio}
    path.unlink()


def flat_case(folder: Path, dim: int, queries: int, database: int) -> Iterator[Case]:
    path = folder / "flat.h5"
    described(path, database, queries, dim, "f2")
    yield {"name": f"flat {database}x{dim}, {queries} queries", **measured(flat, str(path))}
    path.unlink()


def restricted_cases(folder: Path, database: int, queries: int) -> Iterator[Case]:
    path = folder / "restricted.h5"
    for dim in (512, 4096):
        described(path, database, queries, dim, "f2")
        found = measured(restricted, str(path), INSIDE)
        yield {"name": f"{INSIDE} of {database}x{dim} float16", **found}
        path.unlink()


def million_cases(folder: Path, database: int, queries: int) -> Iterator[Case]:
    path = folder / "places.h5"
    places(path, database, queries)
    for factory, train, parameters, refine in INDEXES:
        name = f"{factory} {database}x512, {queries} queries, {parameters}, refine {refine}"
        yield {
            "name": name,
            **measured(approximate, str(path), factory, train, parameters, refine),
        }
    path.unlink()


def city_case(folder: Path, root: Path) -> Iterator[Case]:
    """The city's own descriptors, where `dvc repro` has made them; right is what is near enough."""
    sides = {side: root / CITY / f"{side}.h5" for side in ("db", "queries")}
    if not all(path.exists() for path in sides.values()):
        print("the city has not been described: run `dvc repro`")
        return
    path = folder / "city.h5"
    with writing_hdf5(path) as file:
        for side, source in zip(("database", "queries"), sides.values(), strict=True):
            with h5py.File(source) as stored:
                file[side] = stored["descriptors"][:]
        database = read_index(root / INDEX / "db.h5")
        asked = read_index(root / INDEX / "queries.h5")
        truth = read_truth(root / INDEX / "queries.h5", asked, database, None)
        every = np.broadcast_to(np.arange(len(database)), (len(asked), len(database)))
        file["right"] = truth.is_right(every)
    rounds = max(ROUNDS, CITY_ROUNDS * CITY_IMAGES // len(database))
    for factory, parameters, refine in CITY_INDEXES:
        given = (str(path), factory, 10_000, parameters, refine, rounds, rounds)
        found = measured(approximate, *given)
        yield {"name": f"city, {factory}, {parameters or '-'}, refine {refine}", **found}


def main(
    json_path: Path | None = typer.Option(None, "--json", help="also write it there"),
    only: list[str] = typer.Option(["flat", "4096", "32768"], help="the cases to run"),
    budgets: list[float] = typer.Option([2, 4, 8], help="GiB of memory for 32,768 dimensions"),
    queries: int = typer.Option(PITTSBURGH[1], help="fewer take less time for 32,768 dimensions"),
    database: int = typer.Option(PITTSBURGH[0], help="images for 32,768 dimensions, as `queries`"),
    folder: Path = typer.Option(Path(tempfile.gettempdir()), help="with room for 6 GB"),
    root: Path = typer.Option(Path(), help="a project whose city is described"),
) -> None:
    """Prints a line a case: seconds, peak memory, and the ratio that its bound is about."""
    cases = []
    with tempfile.TemporaryDirectory(dir=folder) as name:
        place = Path(name)
        steps = {
            "flat": lambda: flat_case(place, 4096, SMALL[1], SMALL[0]),
            "4096": lambda: exact_cases(place, 4096, [1.5], PITTSBURGH[1], PITTSBURGH[0]),
            "restricted": lambda: restricted_cases(place, *NEAR),
            "million": lambda: million_cases(place, *MILLION),
            "city": lambda: city_case(place, root),
            "32768": lambda: exact_cases(place, 32_768, budgets, queries, database),
        }
        for chosen in only:
            for case in steps[chosen]():
                shown = {
                    k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in case.items()
                }
                print("  ".join(f"{k} {v}" for k, v in shown.items()), flush=True)
                cases.append(shown)
    if json_path:
        json_path.write_text(json.dumps({"cores": RuntimeSettings().cores, "cases": cases}) + "\n")


if __name__ == "__main__":
    typer.run(main)
