"""Measures the NetVLAD layer against a loop over clusters: `python -m benchmarks.layer`."""

import json
import multiprocessing
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import torch
import typer
from torch import Tensor, nn

from benchmarks.plain import LoopNetVLAD
from vprlib.model.netvlad import NetVLAD
from vprlib.pipeline.runtime import RuntimeSettings

BATCH, DIM, CLUSTERS, HEIGHT, WIDTH = 8, 512, 64, 30, 40
REPEATS = 5


@dataclass(frozen=True)
class Pass:
    """Forward and backward of one layer."""

    seconds: float
    peak_bytes: int  # above what was there with the input


def main(
    json_path: Path | None = typer.Option(None, "--json", help="also write all figures there"),
) -> None:
    """Prints seconds, forward and backward, and peak memory as multiples of the input."""
    ours, plain = measured(ours_of), measured(plain_of)
    size = 4 * BATCH * DIM * HEIGHT * WIDTH
    found = {
        "name": f"NetVLAD {BATCH}x{DIM}x{HEIGHT}x{WIDTH}, K {CLUSTERS}, forward and backward",
        "ours_s": ours.seconds,
        "plain_s": plain.seconds,
        "ratio": plain.seconds / ours.seconds,
        "input_bytes": size,
        "ours_peak_over_input": 1 + ours.peak_bytes / size,  # with the input itself
        "plain_peak_over_input": 1 + plain.peak_bytes / size,
    }
    print(
        "  ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in found.items())
    )
    if json_path is not None:
        passes = {"ours": asdict(ours), "plain": asdict(plain)}
        json_path.write_text(json.dumps({"cases": [found | passes]}, indent=2) + "\n")


def ours_of() -> NetVLAD:
    layer = NetVLAD(CLUSTERS, DIM, "v1")
    for seed, parameter in enumerate(layer.parameters()):
        parameter.data = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed))
    return layer


def plain_of() -> nn.Module:
    return LoopNetVLAD(ours_of())


def measured(layer: Callable[[], nn.Module]) -> Pass:
    """In a process of its own, whose memory nothing else has touched."""
    spawn = multiprocessing.get_context("spawn")
    receiver, sender = spawn.Pipe(duplex=False)
    process = spawn.Process(target=_send, args=(sender, layer))
    process.start()
    found = receiver.recv()
    process.join()
    return found


def _send(sender: Connection, make: Callable[[], nn.Module]) -> None:
    torch.set_num_threads(RuntimeSettings().cores)
    layer = make()
    warm = torch.randn(1, DIM, 2, 2, requires_grad=True)
    layer(warm).sum().backward()
    features = torch.randn(BATCH, DIM, HEIGHT, WIDTH).to(memory_format=torch.channels_last)
    features.requires_grad_()
    slope = torch.randn(BATCH, CLUSTERS * DIM)
    peak = _peak_of(lambda: _once(layer, features, slope))
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        _once(layer, features, slope)
        seconds.append(time.perf_counter() - start)
    sender.send(Pass(min(seconds), peak))


def _once(layer: nn.Module, features: Tensor, slope: Tensor) -> None:
    features.grad = None
    layer.zero_grad(set_to_none=True)
    (layer(features) * slope).sum().backward()


def _peak_of(work: Callable[[], None]) -> int:
    """The kernel's own high-water mark of this process, above what it holds now."""
    Path("/proc/self/clear_refs").write_text("5")  # forget the old mark
    before = _status_bytes("VmRSS")
    work()
    return _status_bytes("VmHWM") - before


def _status_bytes(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


if __name__ == "__main__":
    typer.run(main)
