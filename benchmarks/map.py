"""Pushes a map into a folder, killed twice on the way: `python -m benchmarks.map`."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import typer

from benchmarks.memory import watching
from vprlib.descriptors.rows import Rows
from vprlib.places.projection import metres_from
from vprlib.search.exact import search_parts
from vprlib.search.request import Neighbors, SearchRequest, collect
from vprlib.stores import ask
from vprlib.stores.area import Area, Ball
from vprlib.stores.embedded import Folder
from vprlib.stores.facts import SCHEMA, Facts
from vprlib.stores.push import push
from vprlib.stores.store import Version, open_live, switch

QUERIES, COUNT, WITHIN_M = 50, 20, 100.0
BLOCK = 10_000
SIDE_DEG = 0.3  # of the square that images are spread over, about 30 km


def degrees_of(count: int) -> np.ndarray:
    """Longitudes and latitudes [N, 2]."""
    return np.random.default_rng(1).random((count, 2)) * SIDE_DEG + np.array([15.0, 40.0])


def make(path: Path, count: int, dim: int) -> None:
    """Random unit vectors, a block at a time."""
    draw = np.random.default_rng(0)
    stored = np.lib.format.open_memmap(path, "w+", np.float32, (count, dim))
    for start in range(0, count, BLOCK):
        part = draw.standard_normal((min(BLOCK, count - start), dim), np.float32)
        stored[start : start + len(part)] = part / np.linalg.norm(part, axis=1, keepdims=True)
    stored.flush()


def queries_of(database: Rows) -> np.ndarray:
    draw = np.random.default_rng(2)
    rows = np.sort(draw.choice(database.shape[0], QUERIES, replace=False))
    noise = draw.standard_normal((QUERIES, database.shape[1]), np.float32)
    found = np.asarray(database[rows]) + noise * np.float32(0.03)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def facts_of(count: int, dim: int, graph: bool) -> Facts:
    known = {"schema": SCHEMA, "made": "", "network": "n", "code": "", "images": "i", "places": "p"}
    kept = {"rows": count, "dim": dim, "precision": "float32", "scale": 1.0}
    how = {"described_in": "auto", "read_by": "{}", "is_geographic": True, "has_graph": graph}
    return Facts(**known, **kept, **how, dataset="drawn", variant="none", name="full")  # type: ignore[arg-type]


def fill(home: Path, vectors: Path, graph: bool) -> None:
    """What a process does that may be killed."""
    database = np.load(vectors, mmap_mode="r")
    count, dim = database.shape
    degrees = degrees_of(count)

    def payloads(rows: np.ndarray) -> list[dict[str, object]]:
        places = degrees[rows].tolist()
        return [
            {"name": f"images/{row:08d}.jpg", "x": x, "y": y, "place": {"lon": x, "lat": y}}
            for row, (x, y) in zip(rows.tolist(), places, strict=True)
        ]

    version = Folder(home).growing(facts_of(count, dim, graph))
    print(f"{len(version.stored())} rows were there", flush=True)
    done = push(version, database, np.arange(count), payloads)
    print(f"{done.rows} rows pushed", flush=True)
    version.close()


def pushed(home: Path, vectors: Path, graph: bool, kill_after_s: float | None) -> dict[str, object]:
    """One push in a process of its own, with its peak memory."""
    command = [sys.executable, "-m", "benchmarks.map", "--home", str(home), "--fill", str(vectors)]
    began = time.perf_counter()
    process = subprocess.Popen(
        [*command, *(["--graph"] if graph else [])], stdout=subprocess.PIPE, text=True
    )
    with watching(process.pid) as peak:
        try:
            said, _ = process.communicate(timeout=kill_after_s)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            said, _ = process.communicate()
    told = {"said": said.split("\n")[:-1], "returncode": process.returncode}
    return {**told, "seconds": time.perf_counter() - began, "peak_mib": peak.mib}


def around(lon: float, lat: float) -> Area:
    def is_inside(degrees: np.ndarray) -> np.ndarray:
        return metres_from(np.array([lon, lat]), degrees) <= WITHIN_M

    return Area(Ball(lat, lon, WITHIN_M), is_inside, "around")


def compared(version: Version, database: Rows, degrees: np.ndarray) -> dict[str, object]:
    """Whether the map and Faiss find the same rows, everywhere and around places."""
    queries = queries_of(database)
    found = ask.nearest(version, queries, COUNT, [None] * QUERIES).neighbors
    request = SearchRequest(queries, database, COUNT, 2**30, 2)
    expected = collect(search_parts, request)
    areas = [around(*place) for place in degrees[:: max(1, len(degrees) // QUERIES)][:QUERIES]]
    near = ask.nearest(version, queries, COUNT, list(areas)).neighbors
    equal = [
        _is_equal(
            near,
            query,
            collect(search_parts, replace(request, **_only(queries, query, area, degrees))),
        )
        for query, area in enumerate(areas)
    ]
    return {
        "queries": QUERIES,
        "recall_against_faiss": float(np.mean(found.rows == expected.rows)),
        "largest_difference_of_distances": float(
            np.abs(found.distances - expected.distances).max()
        ),
        "near_equal": sum(equal),
    }


def _only(
    queries: np.ndarray, query: int, area: Area, degrees: np.ndarray
) -> dict[str, np.ndarray]:
    return {"queries": queries[query : query + 1], "among": np.flatnonzero(area.is_inside(degrees))}


def _is_equal(near: Neighbors, query: int, expected: Neighbors) -> bool:
    return near.of(query) == expected.of(0)


def timed(version: Version, database: Rows, degrees: np.ndarray, exact: bool) -> dict[str, float]:
    """Milliseconds of a query alone: the median of all."""
    queries = queries_of(database)
    found = {}
    for name in ("everywhere", "near"):
        taken = []
        for query, place in zip(queries, degrees[:QUERIES], strict=True):
            area = around(*place) if name == "near" else None
            began = time.perf_counter()
            ask.nearest(version, query[None], COUNT, [area], exact)
            taken.append(1000 * (time.perf_counter() - began))
        found[f"{name}_ms"] = float(np.median(taken))
    return found


def main(
    rows: int = typer.Option(50_000, help="images of the map"),
    dim: int = typer.Option(512, help="dimensions"),
    home: Path = typer.Option(Path("artifacts/.scratch/map"), help="the folder of the map"),
    kills: str = typer.Option("8,12", help="seconds after which a push is killed"),
    graph: bool = typer.Option(False, "--graph", help="build a graph too"),
    filling: Path | None = typer.Option(None, "--fill", hidden=True),
) -> None:
    """Prints peak memory, rows after each kill, and whether Faiss finds the same."""
    if filling is not None:
        fill(home, filling, graph)
        return
    home.mkdir(parents=True, exist_ok=True)
    vectors = home / "vectors.npy"
    make(vectors, rows, dim)
    for seconds in [*map(float, filter(None, kills.split(","))), None]:
        print(json.dumps(pushed(home / "map", vectors, graph, seconds)), flush=True)
    where = Folder(home / "map")
    began = time.perf_counter()
    switch(where, where.versions()[-1])
    version = open_live(where)
    print(json.dumps({"open_and_switch_s": time.perf_counter() - began}), flush=True)
    stored = version.stored()
    size = sum(file.stat().st_blocks * 512 for file in home.glob("map/**/*") if file.is_file())
    is_once = bool(np.array_equal(stored, np.arange(rows)))
    print(json.dumps({"rows": len(stored), "each_once": is_once, "bytes": size}), flush=True)
    database, degrees = np.load(vectors, mmap_mode="r"), degrees_of(rows)
    print(json.dumps(compared(version, database, degrees)), flush=True)
    print(json.dumps({"exact": timed(version, database, degrees, True)}), flush=True)
    if graph:
        print(json.dumps({"graph": timed(version, database, degrees, False)}), flush=True)
    whole(version, database)


def whole(version: Version, database: Rows) -> None:
    """Reads every vector again, through a search for itself in parts."""
    draw = np.random.default_rng(3)
    rows = np.sort(draw.choice(database.shape[0], min(200, database.shape[0]), replace=False))
    found = ask.nearest(version, np.asarray(database[rows]), 1, [None] * len(rows)).neighbors
    print(
        json.dumps({"find_themselves": float(np.mean(found.rows[:, 0] == rows)), "of": len(rows)})
    )


if __name__ == "__main__":
    typer.run(main)
