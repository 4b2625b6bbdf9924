"""Measures what describing an image costs; started by `vpr tradeoffs` as a process of its own."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import typer
from pydantic import TypeAdapter

from vprlib.pipeline import command
from vprlib.pipeline.params import UserError

BATCHES = (1, 16)
LEAST_RUNS = 5  # of which the median is taken
ROUNDS = 3  # the networks take turns, since a shared machine is slower at times
SECONDS = 1.5  # of repeating the network, for each number of threads
CODING_SECONDS = 0.5  # of repeating a code, which is short


@dataclass(frozen=True)
class Cost:
    """The cost at one batch size; times are medians, in milliseconds per image."""

    batch: int
    network_ms: dict[int, float]  # by threads
    coding_ms: dict[str, dict[int, float]]  # by the code's file and threads
    peak_bytes: int  # of a process that loads the network and describes


def measured_in_rounds(
    networks: Mapping[Path, Sequence[Path]], size: tuple[int, int], threads: Sequence[int]
) -> dict[Path, list[Cost]]:
    """The medians over rounds for each network; `networks` maps it to the files of its codes."""
    rounds = [
        {path: measured_apart(path, coders, size, threads) for path, coders in networks.items()}
        for _ in range(ROUNDS)
    ]
    return {
        path: [combined(costs) for costs in zip(*(found[path] for found in rounds), strict=True)]
        for path in networks
    }


def combined(costs: Sequence[Cost]) -> Cost:
    """Several measurements as one: median times and the largest peak."""
    first = costs[0]
    network_ms = {t: median(cost.network_ms[t] for cost in costs) for t in first.network_ms}
    coding_ms = {
        name: {t: median(cost.coding_ms[name][t] for cost in costs) for t in times}
        for name, times in first.coding_ms.items()
    }
    return Cost(first.batch, network_ms, coding_ms, max(cost.peak_bytes for cost in costs))


def measured_apart(
    network: Path, coders: Sequence[Path], size: tuple[int, int], threads: Iterable[int]
) -> list[Cost]:
    """Starts a new process for each batch size, so that peaks are the network's own."""
    given = [f"--network={network}", f"--width={size[0]}", f"--height={size[1]}"]
    given += [f"--coder={coder}" for coder in coders]
    given += [f"--threads={count}" for count in threads]
    found = []
    for batch in BATCHES:
        command_line = [sys.executable, "-m", "vprlib.cli.costs", *given, f"--batch={batch}"]
        done = subprocess.run(command_line, capture_output=True, text=True)
        if done.returncode:
            lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            raise UserError(f"{network} could not be measured: {lines[-1].removeprefix('error: ')}")
        found.append(TypeAdapter(Cost).validate_json(done.stdout.splitlines()[-1]))
    return found


def timed(action: Callable[[], object], at_least: float, runs: int = LEAST_RUNS) -> float:
    """The median seconds of at least `runs` runs, after one to warm up."""
    action()
    seconds: list[float] = []
    while len(seconds) < runs or sum(seconds) < at_least:
        start = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - start)
    return median(seconds)


def measure(
    network: Path, coders: Sequence[Path], pixels: np.ndarray, threads: Sequence[int]
) -> Cost:
    """Measures in this process, which should be new: its peak memory counts from its start."""
    images = len(pixels)
    network_ms = {}
    for count in threads:
        describe = partial(_describer(network, count), pixels)
        network_ms[count] = 1000 * timed(describe, SECONDS) / images
    peak, vectors = peak_bytes(), describe()
    coding = {str(path): _coding(path, vectors, threads) for path in coders}
    return Cost(images, network_ms, coding, peak)


def _describer(path: Path, threads: int) -> Callable[[np.ndarray], np.ndarray]:
    """An export, or a network that describes as the pipeline does on the CPU."""
    if path.suffix == ".onnx":
        from vprlib.interop.onnx_run import Exported

        return Exported(path, threads)
    import torch

    from vprlib.model.describe import network_output
    from vprlib.model.model import read_variant
    from vprlib.model.precision import compute_in, placed

    torch.set_num_threads(threads)
    cpu = torch.device("cpu")
    stored = read_variant(path)
    model, precision = placed(stored, cpu), stored.precision

    @torch.no_grad()
    def describe(pixels: np.ndarray) -> np.ndarray:
        with compute_in(cpu, precision):
            return network_output(model, torch.from_numpy(pixels)).numpy()

    return describe


def _coding(path: Path, vectors: np.ndarray, threads: Sequence[int]) -> dict[int, float]:
    from threadpoolctl import threadpool_limits

    from vprlib.descriptors.codes import read_code

    code, found = read_code(path), {}
    quantiser = code.quantiser("db", vectors.shape[1])
    for count in threads:
        with threadpool_limits(count):
            seconds = timed(lambda: quantiser.encode(code.apply(vectors)), CODING_SECONDS)
        found[count] = 1000 * seconds / len(vectors)
    return found


def peak_bytes() -> int:
    """The peak memory of this process; `getrusage` would count its parent's too."""
    status = Path("/proc/self/status")
    if status.exists():
        lines = status.read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else 1024 * used


def main(
    network: Path = typer.Option(help="a model file or an export"),
    coder: list[Path] = typer.Option([], help="files of fit_code to time as well"),
    width: int = typer.Option(640, min=1),
    height: int = typer.Option(480, min=1),
    batch: int = typer.Option(1, min=1),
    threads: list[int] = typer.Option([1]),
) -> None:
    """Print as JSON the cost of describing random images of one size."""
    draw = np.random.default_rng(1)
    pixels = draw.integers(0, 256, (batch, height, width, 3), dtype=np.uint8)
    typer.echo(json.dumps(asdict(measure(network, coder, pixels, threads))))


if __name__ == "__main__":
    command.run(main)
