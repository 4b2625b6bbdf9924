"""Measures describing images into a file: `python -m benchmarks.extraction`."""

import multiprocessing
import os
import random
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import torch
import typer

from benchmarks.memory import watching
from benchmarks.plain import NormalisedSource, together
from benchmarks.project import Project, drawn_model, drawn_source, ended, make_project
from vprlib.extract.extraction import ExtractionSettings, Work, extract
from vprlib.images.batches import ImageSource, plan_batches
from vprlib.model.backbones import IMAGENET_MEAN, IMAGENET_STD
from vprlib.model.describe import network_output
from vprlib.model.device import prepare
from vprlib.model.model import PlaceModel
from vprlib.model.precision import compute_in, has_bfloat16, placed
from vprlib.model.settings import Precision
from vprlib.pipeline.artifacts import write_json
from vprlib.pipeline.command import run
from vprlib.pipeline.resume import Scratch
from vprlib.pipeline.runtime import RuntimeSettings

CLUSTERS = 64
KILLS = 10
LOOKED_AT = 64  # images, when memory is measured; it no longer grows then
FEW, MANY = 1000, 20_000
LARGEST_SHARE = 0.3  # of a whole run, until it is killed


@dataclass(frozen=True)
class Speed:
    """VGG16-NetVLAD on `images` pictures of one size."""

    width: int
    height: int
    precision: Precision
    images: int

    @property
    def name(self) -> str:
        return f"VGG16 {self.height}x{self.width} {self.precision}"


SPEEDS = (
    Speed(640, 480, "float32", 24),
    Speed(640, 480, "bfloat16", 24),
    Speed(160, 120, "float32", 320),
    Speed(160, 120, "bfloat16", 320),
)
MEMORY = f"memory at {FEW} and {MANY} images"
PROCESSES = "two processes"
KILLED = f"killed at {KILLS} random moments"
Case = dict[str, object]  # as `--json` writes it


def speed_cases(
    case: Speed, images: int, rounds: int, runtime: RuntimeSettings, device: torch.device
) -> Iterator[Case]:
    """Ours against the bare forward pass, and against a plain loop; of each the best round."""
    sides: dict[str, list[float]] = {"bare": [], "ours": [], "plain": []}
    model = drawn_model("vgg16", "conv5_3", CLUSTERS)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        source = drawn_source(folder / "images", images, case.width, case.height)
        plain_model = plain_copy(model, device)
        model = placed(model, device)
        for number in range(rounds):
            sides["bare"].append(bare_seconds(model, source, case.precision, device))
            start = time.perf_counter()
            described(folder / f"{number}.h5", model, source, case.precision, device, runtime)
            sides["ours"].append(time.perf_counter() - start)
            sides["plain"].append(plain_seconds(folder / "p.h5", plain_model, source, device))
        with watching(os.getpid()) as peak:  # apart: looking takes time
            some = source.take(np.arange(min(images, LOOKED_AT)))
            described(folder / "peak.h5", model, some, case.precision, device, runtime)
    best = {side: min(seconds) for side, seconds in sides.items()}
    for side, called in (("bare", "the bare forward pass"), ("plain", "a plain loop")):
        yield {
            "name": f"{case.name}, {images} images, against {called}",
            "seconds": best["ours"],
            "peak_bytes": 1024 * peak.kib,
            "ratio": best[side] / best["ours"],
            "images_a_second": images / best["ours"],
        }


def described(
    path: Path,
    model: PlaceModel,
    source: ImageSource,
    precision: Precision,
    device: torch.device,
    runtime: RuntimeSettings,
) -> None:
    """All of it as the stages do it."""
    settings, report = ExtractionSettings(precision=precision), path.with_suffix(".txt")
    work = Work(model, source, np.arange(len(source.index)), settings, report)
    extract(path, work, Scratch(path.with_suffix(".scratch")), device, runtime)


@torch.no_grad()
def bare_seconds(
    model: PlaceModel, source: ImageSource, precision: Precision, device: torch.device
) -> float:
    """The network on the same batches; they are decoded while the clock stands still."""
    context, seconds = compute_in(device, precision), 0.0
    for batch in plan_batches(source.sizes(), np.arange(len(source.index))):
        pixels = torch.from_numpy(np.stack([source.pixels(row) for row in batch]))
        start = time.perf_counter()
        with context:
            network_output(model, pixels.to(device)).float().cpu()
        seconds += time.perf_counter() - start
    return seconds


class Plain(torch.nn.Module):
    """The same layers as PyTorch has them: float32, channels first."""

    def __init__(self, model: PlaceModel) -> None:
        super().__init__()
        self.backbone, self.pool = model.backbone, model.pool

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.pool(self.backbone(images))


def plain_copy(model: PlaceModel, device: torch.device) -> Plain:
    copy = PlaceModel(model.architecture)
    copy.load_state_dict(model.state_dict())
    return Plain(copy).to(device, memory_format=torch.contiguous_format).eval()


@torch.no_grad()
def plain_seconds(path: Path, model: Plain, source: ImageSource, device: torch.device) -> float:
    """Decode a batch, describe it, write it; then the next."""
    mean, std = (np.array(values, np.float32) for values in (IMAGENET_MEAN, IMAGENET_STD))
    normalised = NormalisedSource(source, mean, std)
    start = time.perf_counter()
    with h5py.File(path, "w") as file:
        target = None
        for batch in plan_batches(source.sizes(), np.arange(len(source.index))):
            images = together(normalised.pixels(row) for row in batch)
            values = model(images.to(device)).cpu().numpy()
            if target is None:
                shape = (len(source.index), values.shape[1])
                target = file.create_dataset("descriptors", shape, np.float32)
            target[batch] = values
    return time.perf_counter() - start


def memory_case() -> Case:
    """A light network, so that what grows with the images would be seen."""
    with tempfile.TemporaryDirectory() as folder:
        peaks, seconds = [], []
        for images in (FEW, MANY):
            start = time.perf_counter()
            peaks.append(_peak_of(_describe_small, Path(folder) / str(images), images))
            seconds.append(time.perf_counter() - start)
    return {
        "name": f"{MEMORY}, AlexNet 72x96",
        "seconds": seconds[1],
        "peak_bytes": peaks[1],
        "ratio": peaks[1] / peaks[0],
    }


def _describe_small(folder: Path, images: int, is_drawn: object) -> None:
    source = drawn_source(folder / "images", images, 96, 72)
    model, runtime = drawn_model("alexnet", "conv5", 16), RuntimeSettings(workers=1, threads=1)
    is_drawn.set()
    described(folder / "out.h5", model, source, "float32", prepare(runtime), runtime)


def _peak_of(work: Callable[[Path, int, object], None], folder: Path, images: int) -> int:
    """Bytes that a process of its own takes at most while it does the work."""
    context = multiprocessing.get_context("spawn")
    is_drawn = context.Event()
    process = context.Process(target=work, args=(folder, images, is_drawn))
    process.start()
    is_drawn.wait()
    with watching(process.pid) as peak:
        process.join()
    assert process.exitcode == 0
    return 1024 * peak.kib


def processes_case(images: int) -> Case:
    """As many threads each as the one had: on a machine with more cores it is twice as fast."""
    with tempfile.TemporaryDirectory() as temporary:
        project = make_project(Path(temporary), images, (96, 72), "alexnet", "conv5", CLUSTERS)
        seconds, peaks = [], []
        for processes in (1, 2):
            project.configure(processes=processes)
            start = time.perf_counter()
            process = project.start(f"{processes}")
            with watching(process.pid) as peak:
                ended(process)
            seconds.append(time.perf_counter() - start)
            peaks.append(1024 * peak.kib)
        one, two = (project.output(f"{n}").read_bytes() for n in (1, 2))
    assert one == two, "two processes wrote other bytes than one"
    return {
        "name": f"{PROCESSES}, AlexNet 72x96, {images} images, start and all: same bytes",
        "seconds": seconds[1],
        "peak_bytes": peaks[1],
        "ratio": seconds[0] / seconds[1],
    }


def killed_case(images: int) -> Case:
    """Each run goes on where the one before was killed."""
    with tempfile.TemporaryDirectory() as temporary:
        project = make_project(Path(temporary), images, (96, 72), "alexnet", "conv5", CLUSTERS)
        process = project.start("whole")
        wait_for_block(project, process)
        start = time.perf_counter()
        ended(process)
        whole = time.perf_counter() - start
        start = time.perf_counter()
        kills = kill_often(project, "killed", LARGEST_SHARE * whole)
        seconds = time.perf_counter() - start
        expected, found = (project.output(name).read_bytes() for name in ("whole", "killed"))
    assert expected == found, "a run that was killed ended with other bytes"
    return {
        "name": f"{KILLED}, {kills} of them after more blocks were whole: same bytes",
        "seconds": seconds,
        "peak_bytes": None,
        "ratio": seconds / whole,
    }


def kill_often(project: Project, variant: str, longest_s: float) -> int:
    """Kills ten runs and lets the last one end; gives how many had got further than the one before.

    A run that ends before it is killed is not counted, and the next one starts anew.
    """
    moments, kills, further = random.Random(7), 0, 0
    while kills < KILLS:
        before = project.blocks()
        process = project.start(variant)
        wait_for_block(project, process, before)
        try:
            process.communicate(timeout=moments.uniform(0, longest_s))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            kills, further = kills + 1, further + (project.blocks() > before)
    ended(project.start(variant))
    return further


def wait_for_block(project: Project, process: "subprocess.Popen[str]", before: int = 0) -> None:
    """Until it has marked one more."""
    while process.poll() is None and project.blocks() <= before:
        time.sleep(0.005)


def all_cases(
    only: str, images: int | None, rounds: int, runtime: RuntimeSettings
) -> Iterator[Case]:
    device = prepare(runtime)
    for case in SPEEDS:
        if only in case.name:
            if case.precision == "bfloat16" and not has_bfloat16(device):
                typer.echo(f"{case.name}: not measured: no bfloat16 on this processor")
            else:
                yield from speed_cases(case, images or case.images, rounds, runtime, device)
    for name, measure in (
        (MEMORY, memory_case),
        (PROCESSES, lambda: processes_case(images or FEW)),
        (KILLED, lambda: killed_case(images or FEW)),
    ):
        if only in name:
            yield measure()


def main(
    json_path: Path | None = typer.Option(None, "--json", help="also write all figures there"),
    only: str = typer.Option("", help="only cases whose name contains this"),
    images: int | None = typer.Option(None, min=2, help="so many instead of each case's own"),
    rounds: int = typer.Option(2, min=1, help="of the speed cases; the best one counts"),
    device: str = typer.Option("cpu"),
    threads: int | None = typer.Option(None, min=1, help="of the speed cases; else all cores"),
) -> None:
    """Prints a line a case; `ratio` is above one where ours is faster."""
    found = []
    runtime = RuntimeSettings(device=device, threads=threads)
    for case in all_cases(only, images, rounds, runtime):
        peak = "" if case["peak_bytes"] is None else f", peak {case['peak_bytes'] / 2**20:.0f} MiB"
        rate = f", {case['images_a_second']:.2f} images/s" if "images_a_second" in case else ""
        typer.echo(
            f"{case['name']}: {case['seconds']:.1f} s{rate}{peak}, ratio {case['ratio']:.2f}"
        )
        found.append(case)
        if json_path is not None:
            about = {"cpu": torch.backends.cpu.get_cpu_capability(), "threads": runtime.cores}
            write_json(json_path, {"machine": about, "cases": found})


if __name__ == "__main__":
    run(main)
