"""Measures fitting of whitening: `python -m benchmarks.whitening [--full] [--json]`."""

import json
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import typer

from vprlib.descriptors.codes import Code
from vprlib.descriptors.matrix import Matrix
from vprlib.descriptors.whitening import fit
from vprlib.pipeline.runtime import RuntimeSettings

SHORT, FULL = (2_000, 8_192), (10_000, 32_768)  # descriptors and their dimensions
BLOCK = 500


def main(
    full: bool = typer.Option(False, help="the size of VGG16-NetVLAD: minutes"),
    as_json: bool = typer.Option(False, "--json", help="one line of JSON"),
) -> None:
    """Prints the seconds to fit and to apply, and peak memory with the sample on disk."""
    count, dim = FULL if full else SHORT
    runtime = RuntimeSettings()
    with tempfile.TemporaryDirectory() as folder, h5py.File(Path(folder) / "s.h5", "w") as file:
        sample = file.create_dataset("descriptors", (count, dim), np.float32)
        for start, rows in zip(range(0, count, BLOCK), vectors(count, dim), strict=True):
            sample[start : start + BLOCK] = rows
        start = time.perf_counter()
        fitted = fit(sample, 4096, runtime.memory_bytes, runtime.cores)
        fitting = time.perf_counter() - start
        code = Code(mean=fitted.mean.astype(np.float32), matrix=Matrix(fitted.projection))
        start = time.perf_counter()
        code.apply(sample[:BLOCK])
        applying = time.perf_counter() - start
    found = {
        "descriptors": count,
        "dimensions": dim,
        "kept": len(fitted.projection),
        "cores": runtime.cores,
        "fit_s": round(fitting, 2),
        "applied_per_s": round(BLOCK / applying),
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }
    print(json.dumps(found) if as_json else "  ".join(f"{k} {v}" for k, v in found.items()))


def vectors(count: int, dim: int) -> Iterator[np.ndarray]:
    """Blocks of unit vectors whose variance falls along the axes."""
    spread = (1 / np.sqrt(1 + np.arange(dim))).astype(np.float32)
    for start in range(0, count, BLOCK):
        generator = np.random.default_rng([1, start])
        rows = generator.standard_normal((BLOCK, dim), np.float32) * spread + 0.1 * spread
        yield rows / np.linalg.norm(rows, axis=1, keepdims=True)


if __name__ == "__main__":
    typer.run(main)
