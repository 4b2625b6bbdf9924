"""Measures an epoch of training against the plain way: `python -m benchmarks.training`."""

import multiprocessing
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
import torchvision
import typer

from benchmarks.memory import watching
from benchmarks.pictures import Size, drawn_data
from benchmarks.plain import LoopNetVLAD, PlainTrainer, backbone_overhead
from benchmarks.stopwatch import Stopwatch
from vprlib.model.device import prepare
from vprlib.model.model import Architecture, PlaceModel, read_model, write_model
from vprlib.model.netvlad import initialise
from vprlib.model.settings import PoolSettings
from vprlib.model.weights import BackboneSettings, starting_backbone
from vprlib.pipeline.artifacts import write_json
from vprlib.pipeline.cache import cache_at
from vprlib.pipeline.command import run
from vprlib.pipeline.params import UserError
from vprlib.pipeline.resume import Scratch
from vprlib.pipeline.runtime import RuntimeSettings, processor_name
from vprlib.train.data import TrainingData
from vprlib.train.gradients import Step, database_images
from vprlib.train.log import EpochLog
from vprlib.train.sample import SampleSettings, take_sample
from vprlib.train.settings import TrainSettings
from vprlib.train.trainer import Trainer
from vprlib.train.validation import VALIDATION_NS, Validation
from vprlib.train.words import KmeansSettings, cluster

CLUSTERS = 64
PARTS = ("encode", "mine", "data", "forward", "backward")
CPU = torch.device("cpu")
LARGEST_DIFFERENCE = 1e-4  # of two step losses
LARGEST_OVERHEAD = 1.1  # of the plain backbone over torchvision's own


@dataclass(frozen=True)
class Case:
    """An epoch over `size`; where it stands for more images, what it takes is extrapolated."""

    name: str
    size: Size
    first_layer: str
    stands_for: int | None = None  # images, one in ten of them a query
    queries_a_step: int = 4

    def settings(self) -> TrainSettings:
        return TrainSettings(
            first_layer=self.first_layer,
            precision="float32",
            queries_a_step=self.queries_a_step,
            learning_rate=1e-4,
            distance="l2",
            margin=0.1,
            negatives=10,
            negative_pool=1000,
            refresh_queries=0,
        )


FROZEN, ALL = "conv5_1", "conv1_1"
CASES = (
    Case("frozen 160x120, 1000 images", Size(160, 120, 900, 100), FROZEN),
    Case("frozen 160x120, 4000 images", Size(160, 120, 3600, 400), FROZEN),
    Case(
        "frozen 480x640, 100 images mined and 10 steps of one query, extrapolated to 4000 images",
        Size(640, 480, 90, 10),
        FROZEN,
        stands_for=4000,
        queries_a_step=1,
    ),
    Case(
        "all 160x120, 200 images mined and 5 steps, extrapolated to 1000 images",
        Size(160, 120, 180, 20),
        ALL,
        stands_for=1000,
    ),
    Case("all 160x120, 1000 images", Size(160, 120, 900, 100), ALL),
    Case("all 160x120, 4000 images", Size(160, 120, 3600, 400), ALL),
    Case(  # four queries a step would need 25 GB
        "all 480x640, 20 images mined and 4 steps of one query, extrapolated to 4000 images",
        Size(640, 480, 16, 4),
        ALL,
        stands_for=4000,
        queries_a_step=1,
    ),
)
QUICK = (
    Case("frozen 160x120, 30 images", Size(160, 120, 24, 6), FROZEN),
    Case("all 160x120, 30 images", Size(160, 120, 24, 6), ALL),
    Case(
        "frozen 160x120, 30 images mined and 2 steps, extrapolated to 300 images",
        Size(160, 120, 24, 6),
        FROZEN,
        stands_for=300,
    ),
)


@dataclass(frozen=True)
class Variant:
    """Our side with other settings, or with something of it taken back."""

    name: str
    train: dict[str, object] = field(default_factory=dict)
    runtime: dict[str, object] = field(default_factory=dict)
    change: Callable[[PlaceModel], None] | None = None  # before the optimiser sees the model


def loop_over_clusters(model: PlaceModel) -> None:
    model.pool = LoopNetVLAD(model.pool)


FIRST = Variant("ours, the cache included")  # measured first: what comes after finds the cache
OURS = Variant("ours")
# what each takes away again; the plain side has all of them at once
ABLATIONS = (
    Variant("ours without the cache", runtime={"cache_gib": 0.0}),
    Variant("ours with the loop over clusters", change=loop_over_clusters),
    Variant("ours in bfloat16", train={"precision": "bfloat16", "stored": "bfloat16"}),
)


@dataclass(frozen=True)
class Timing:
    """What one side needed for an epoch; `ours` and `plain` are asked for the same images."""

    seconds: float
    parts: dict[str, float]
    losses: list[float]
    asked: int  # images of all tuples
    distinct: int  # of these, those that the side shows the network: once a step, or each time
    described: int  # images, for mining
    peak_mib: float = 0.0
    overhead: float | None = None  # of the plain backbone

    @property
    def images_per_s(self) -> float:
        return (self.described + self.asked) / self.seconds

    def extrapolated(self, case: Case) -> "Timing":
        """To the images that the case stands for, as if no two tuples of a step shared one.

        In so small a set they share more than in the one it stands for, which only ours gains by.
        """
        if case.stands_for is None:
            return self
        more_images = case.stands_for / self.described
        more_steps = case.stands_for / 10 / case.size.queries
        factors = dict.fromkeys(PARTS, more_steps * self.asked / self.distinct)
        factors |= {"encode": more_images, "mine": more_steps}
        parts = {name: seconds * factors[name] for name, seconds in self.parts.items()}
        return replace(
            self,
            parts=parts,
            seconds=sum(parts.values()),
            asked=round(self.asked * more_steps),
            distinct=round(self.distinct * more_steps),
            described=case.stands_for,
        )


class TimedTrainer(Trainer):
    """Ours with a clock, a list of what it learns from, and no validation."""

    def __init__(self, *args: object, **others: object) -> None:
        super().__init__(*args, **others)
        self.clock, self.losses, self.learnt = Stopwatch.of(self.device), [], []
        self.on_epoch = self.lines = lambda row: None
        self.optimizer.step = self.clock.timed("backward", self.optimizer.step)

    def start(self) -> None:
        """Epoch 0, in which nothing is learnt."""
        self._finish_epoch(EpochLog(0, None, None, None, *self._validate()))

    def _validate(self) -> Validation:
        return Validation({f"recall@{n}": 0.0 for n in VALIDATION_NS}, None)

    def _describe(self, name: str, rows: np.ndarray | None) -> np.ndarray:
        with self.clock.part("encode"):
            return super()._describe(name, rows)

    def _mine(self, queries: np.ndarray) -> list[Step]:
        with self.clock.part("mine"):
            return super()._mine(queries)

    def _learn(self, step: Step, images: Iterator[list[np.ndarray]]) -> None:
        loss, terms = self.state.loss_sum, self.state.terms
        backward = self.clock.timed("backward", torch.Tensor.backward)
        with self.clock.part("forward"), patch.object(torch.Tensor, "backward", backward):
            super()._learn(step, self.clock.waiting("data", images))
        self.losses.append((self.state.loss_sum - loss) / (self.state.terms - terms))
        self.learnt.append(step)


def our_trainer(
    model: PlaceModel,
    data: TrainingData,
    settings: TrainSettings,
    folder: Path,
    variant: Variant = OURS,
    cache_folder: Path | None = None,
    device: str = "cpu",
) -> TimedTrainer:
    if variant.change is not None:
        variant.change(model)
    settings = TrainSettings(**settings.model_dump() | variant.train)
    runtime = RuntimeSettings(device=device, **variant.runtime)
    cache = cache_at(cache_folder or folder / "cache", runtime, lambda sentence: None)
    return TimedTrainer(model, data, settings, prepare(runtime), runtime, Scratch(folder), cache)


def our_epoch(
    case: Case,
    data: TrainingData,
    start_path: Path,
    device: str,
    variant: Variant,
    cache_folder: Path,
) -> Timing:
    with tempfile.TemporaryDirectory() as folder:
        model, settings = read_model(start_path), case.settings()
        trainer = our_trainer(model, data, settings, Path(folder), variant, cache_folder, device)
        trainer.start()
        start = time.perf_counter()
        trainer._run_epoch()
        seconds = time.perf_counter() - start
    parts = [part for step in trainer.learnt for part in step]
    return Timing(
        seconds,
        trainer.clock.seconds,
        trainer.losses,
        asked=sum(2 + len(t.negatives) for part in parts for t in part),
        distinct=sum(len(part) + len(database_images(part)) for part in parts),
        described=images_of(data),
    )


def plain_epoch(case: Case, data: TrainingData, start_path: Path, device: str) -> Timing:
    trainer = PlainTrainer(read_model(start_path).to(device), data, case.settings())
    pixels = np.stack([trainer.database.pixels(row) for row in range(4)])
    overhead = backbone_overhead(trainer.network.backbone, torch.from_numpy(pixels).to(device))
    start = time.perf_counter()
    losses = trainer.epoch(1)
    seconds = time.perf_counter() - start
    return Timing(
        seconds,
        trainer.clock.seconds,
        losses,
        asked=trainer.asked,
        distinct=trainer.asked,
        described=images_of(data),
        overhead=overhead,
    )


def images_of(data: TrainingData) -> int:
    return len(data.train.database.index) + len(data.train.queries.index)


def starting_model(
    data: TrainingData, name: str = "vgg16", cut: str = "conv5_3", clusters: int = CLUSTERS
) -> PlaceModel:
    """Random weights, and words of a few images' local descriptors."""
    kind = BackboneSettings(name=name, cut=cut, weights="random")
    model = PlaceModel(Architecture(name, cut, PoolSettings(), clusters))
    model.backbone.load_state_dict(starting_backbone(kind, Path()).state_dict())
    wanted, runtime = SampleSettings(images=16, positions=50), RuntimeSettings()
    sample = take_sample(model.backbone, kind, data.train.database, wanted, CPU, runtime)
    words = cluster(
        sample.descriptors, KmeansSettings(clusters=clusters, iterations=10), runtime.cores
    )
    initialise(model.pool, torch.from_numpy(words.centroids), torch.from_numpy(sample.descriptors))
    return model


def measured(epoch: Callable[[], Timing]) -> Timing:
    """In a process of its own, so that its peak of memory is its own as well."""
    spawn = multiprocessing.get_context("spawn")
    receiver, sender = spawn.Pipe(duplex=False)
    process = spawn.Process(target=_send, args=(sender, epoch))
    process.start()
    sender.close()
    with watching(process.pid) as peak:
        try:
            timing = receiver.recv()
        except EOFError:
            process.join()
            raise UserError(
                f"the process that measured ended with {process.exitcode}: where that is -9, it"
                " needed more memory than there is; choose smaller cases by --only."
            ) from None
        process.join()
    return replace(timing, peak_mib=peak.mib)


def _send(sender: Connection, epoch: Callable[[], Timing]) -> None:
    torch.set_num_threads(RuntimeSettings().cores)
    sender.send(epoch())


def run_case(case: Case, variants: tuple[Variant, ...], device: str) -> list[Timing]:
    """The plain side first, then each variant of ours, all from the same weights and files."""
    with tempfile.TemporaryDirectory() as folder:
        data = drawn_data(Path(folder) / "images", case.size, case.settings())
        start_path = Path(folder) / "start.safetensors"
        write_model(start_path, starting_model(data), {})
        plain = measured(partial(plain_epoch, case, data, start_path, device))
        if plain.overhead > LARGEST_OVERHEAD:
            raise UserError(
                f"the plain backbone takes {plain.overhead:.2f} times as long as torchvision's, so"
                " it is no fair measure: let nothing else run and measure again."
            )
        cache = Path(folder) / "cache"
        epoch = partial(our_epoch, case, data, start_path, device)
        ours = [measured(partial(epoch, variant, cache)) for variant in variants]
    return [timing.extrapolated(case) for timing in (plain, *ours)]


def difference(one: Timing, other: Timing) -> float:
    """The largest of their steps' losses."""
    return max(abs(a - b) for a, b in zip(one.losses, other.losses, strict=True))


def without_mining(timing: Timing) -> float:
    """Seconds that do not hang on how slow the search for neighbours of one library is."""
    return timing.seconds - timing.parts["mine"]


def found_of(case: Case, plain: Timing, ours: Timing) -> dict[str, object]:
    return {
        "name": case.name,
        "ours_s": ours.seconds,
        "plain_s": plain.seconds,
        "ratio": plain.seconds / ours.seconds,
        "ratio_without_mining": without_mining(plain) / without_mining(ours),
        "largest_loss_difference": difference(plain, ours),
        "ours": asdict(ours) | {"images_per_s": ours.images_per_s},
        "plain": asdict(plain) | {"images_per_s": plain.images_per_s},
    }


HEADER = (
    "| case | side | images/s | seconds | " + " | ".join(PARTS) + " | peak MiB | times as fast |"
)


def row_of(case: str, side: str, timing: Timing, plain: Timing) -> str:
    whole = sum(timing.parts.values())
    shares = [f"{timing.parts.get(part, 0.0) / whole:.0%}" for part in PARTS]
    figures = (f"{timing.images_per_s:.1f}", f"{timing.seconds:.1f}", *shares)
    ratio = f"{plain.seconds / timing.seconds:.2f}"
    return f"| {' | '.join((case, side, *figures, f'{timing.peak_mib:.0f}', ratio))} |"


def machine(device: str) -> dict[str, object]:
    return {
        "cpu": processor_name(),
        "gpu": torch.cuda.get_device_name() if device == "cuda" else None,
        "cores": len(os.sched_getaffinity(0)),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
    }


def follow(steps: int) -> float:
    """The largest difference of step losses of both sides over so many, epoch after epoch."""
    with tempfile.TemporaryDirectory() as folder:
        settings = replace(QUICK[0], first_layer="conv5").settings()
        data = drawn_data(Path(folder) / "images", Size(160, 120, 60, 40), settings)
        start_path = Path(folder) / "start.safetensors"
        write_model(start_path, starting_model(data, "alexnet", "conv5"), {})
        ours = our_trainer(read_model(start_path), data, settings, Path(folder) / "scratch")
        plain = PlainTrainer(read_model(start_path), data, settings)
        ours.start()
        losses: list[float] = []
        while len(losses) < steps:
            ours._run_epoch()
            losses += plain.epoch(ours.state.epoch - 1)
        apart = [abs(a - b) for a, b in zip(losses, ours.losses, strict=True)]
    return max(apart[:steps])


def main(
    json_path: Path | None = typer.Option(None, "--json", help="also write all figures there"),
    quick: bool = typer.Option(False, help="tiny cases that take seconds"),
    only: str = typer.Option("", help="only cases whose name contains this"),
    also: str = typer.Option("", help="also ours in ways whose name contains this; all: each"),
    device: str = typer.Option("cpu", help="or cuda"),
    follow_steps: int = typer.Option(0, "--follow", help="compare the losses of so many steps"),
) -> None:
    """Prints a table: what an epoch takes, ours and the plain way, and where the time goes."""
    if follow_steps:
        apart = follow(follow_steps)
        print(f"{follow_steps} steps: losses differ by {apart:.1e} at most")
        raise typer.Exit(int(apart > LARGEST_DIFFERENCE))
    others = [v for v in ABLATIONS if also == "all" or (also and also in v.name)]
    variants = (FIRST, OURS, *others)
    print(HEADER + "\n" + "|---" * (HEADER.count("|") - 1) + "|")
    cases = []
    for case in QUICK if quick else CASES:
        if only not in case.name:
            continue
        plain, *ours = run_case(case, variants, device)
        print(row_of(case.name, "plain", plain, plain), flush=True)
        for variant, timing in zip(variants, ours, strict=True):
            print(row_of(case.name, variant.name, timing, plain), flush=True)
        found = {v.name: found_of(case, plain, t) for v, t in zip(variants, ours, strict=True)}
        first = found.pop(FIRST.name) | {"name": f"{case.name}, first epoch"}
        cases += [found.pop(OURS.name) | {"ablations": found}, first]
        if json_path is not None:
            write_json(json_path, {"machine": machine(device), "cases": cases})


if __name__ == "__main__":
    run(main)
