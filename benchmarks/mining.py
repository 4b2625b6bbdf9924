"""Measures mining against its matrix product alone: `python -m benchmarks.mining [--json FILE]`."""

import gc
import json
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
import typer

from vprlib.model.device import prepare
from vprlib.pipeline.arrays import scratch_array
from vprlib.pipeline.runtime import RuntimeSettings
from vprlib.places.geo import pairs_of
from vprlib.train.mining import Candidates, mine_block, pool_of
from vprlib.train.pairwise import forget
from vprlib.train.settings import TrainSettings

QUERIES, DATABASE, DIM = 1_000, 10_000, 32_768  # of VGG16-NetVLAD
POSITIVES, NEAR = 10, 40  # images a query
BLOCK = 500
ROUNDS = 3  # of each in turn, and the fastest counts: others may use the machine


def main(json_path: Path | None = typer.Option(None, "--json", help="also write it there")) -> None:
    """Prints seconds to mine from descriptors on disk, and those of the product in memory."""
    runtime = RuntimeSettings(device="cpu")
    device = prepare(runtime)
    with tempfile.TemporaryDirectory() as folder:
        queries = described(Path(folder) / "queries.f32", QUERIES)
        database = described(Path(folder) / "database.f32", DATABASE)

        def mine() -> None:
            pools = (pool_of(query, ALLOWED, NOTHING, RULES, 1) for query in range(QUERIES))
            for _ in mine_block(pools, queries, database, RULES, device, runtime.memory_bytes):
                pass

        one, other = torch.from_numpy(np.array(queries)), torch.from_numpy(np.array(database))
        forget(queries)
        forget(database)
        with peak_growth() as peak:  # watching costs time
            mine()
        times = [(seconds(mine), seconds(lambda: one @ other.T)) for _ in range(ROUNDS)]
    ours, product = np.min(times, axis=0)
    case = {
        "name": "full",
        "ours_s": round(float(ours), 2),
        "product_s": round(float(product), 2),
        "ratio": round(float(ours / product), 2),
        "peak_bytes": peak[0],
        "budget_bytes": runtime.memory_bytes,
    }
    print("  ".join(f"{k} {v}" for k, v in ({"cores": runtime.cores} | case).items()))
    if json_path:
        json_path.write_text(json.dumps({"cores": runtime.cores, "cases": [case]}) + "\n")


RULES = TrainSettings()
NOTHING = np.full(RULES.negatives, -1)


def candidates() -> Candidates:
    """Neighbours of each query among the rows after its own."""
    first = np.arange(QUERIES) * (DATABASE - NEAR) // QUERIES
    positives, near = (
        pairs_of([np.arange(row, row + n) for row in first]) for n in (POSITIVES, NEAR)
    )
    return Candidates(positives, near, DATABASE)


ALLOWED = candidates()


def described(path: Path, count: int) -> np.ndarray:
    """Random unit vectors in a file; none of its pages is mapped."""
    target = scratch_array(path, (count, DIM))
    for start in range(0, count, BLOCK):
        rows = np.random.default_rng([count, start]).standard_normal((BLOCK, DIM), np.float32)
        target[start : start + BLOCK] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return np.memmap(path, np.float32, "r+", shape=target.shape)


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


@contextmanager
def peak_growth() -> Iterator[list[int]]:
    """One number, known at the end: bytes by which the process grew at most."""
    gc.collect()
    start, is_done, found = pss(), threading.Event(), [0]

    def watch() -> None:
        while not is_done.wait(0.05):
            found[0] = max(found[0], pss() - start)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield found
    finally:
        is_done.set()
        watcher.join()


def pss() -> int:
    """Memory of this process, what it shares counted in part."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


if __name__ == "__main__":
    typer.run(main)
