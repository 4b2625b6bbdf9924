"""Describes the images of a set into a file; an interrupted run resumes."""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal
from uuid import uuid4

import numpy as np
import torch
import typer

from vprlib.extract.kept import CONTENTS, KeptDescriptors, contents_of
from vprlib.extract.unfinished import FILE, MARKS, Unfinished
from vprlib.images.batches import ImageSource, open_source, plan_batches, stream
from vprlib.images.decode import ImageSettings
from vprlib.images.index import SIGNATURE, Unreadable, signature
from vprlib.model.describe import describe_batches
from vprlib.model.device import machine, prepare
from vprlib.model.model import PlaceModel, read_variant
from vprlib.model.onnx.network import OnnxNetwork
from vprlib.model.precision import placed, resolve_precision
from vprlib.model.settings import Precision
from vprlib.pipeline import paths
from vprlib.pipeline.artifacts import (
    Attribute,
    prepare_hdf5,
    publish,
    reserve,
    write_bytes,
    write_report,
    write_text,
)
from vprlib.pipeline.cache import NO_CACHE, cache_at, digest, sources
from vprlib.pipeline.group import ALONE, Group, joined
from vprlib.pipeline.inside import Name
from vprlib.pipeline.params import At, StageParams, UserError
from vprlib.pipeline.paths import CACHE, Side
from vprlib.pipeline.progress import counting, progress
from vprlib.pipeline.resume import Scratch, scratch_for
from vprlib.pipeline.runtime import RuntimeSettings
from vprlib.pipeline.stored import NETWORK

SHOWN = 3  # images that an error names
KNOWN = "known"  # a byte for each row of an unfinished file: whether it was copied
NOTHING_KEPT = KeptDescriptors(NO_CACHE, "")
CALLED = {"db": "database", "queries": "queries"}
Stored = Literal["float32", "float16"]


class ExtractionSettings(StageParams):
    """How the images of a set are described, and the precision of the file."""

    # of convolutions; auto: bfloat16 if the device has it
    precision: Annotated[Precision, At("extraction.precision")] = "auto"
    stored: Annotated[Stored, At("extraction.stored")] = "float32"
    unreadable: Annotated[Unreadable, At("extraction.unreadable")] = "stop"


@dataclass(frozen=True)
class Work:
    """The images to describe, the network, and how."""

    model: PlaceModel | OnnxNetwork
    source: ImageSource
    rows: np.ndarray  # ascending; the file has one descriptor for each
    settings: ExtractionSettings
    report_path: Path  # lists the images that cannot be read
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)  # kept beside the descriptors
    attributes: Mapping[str, Attribute] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.rows), self.model.dim


@dataclass(frozen=True)
class Outcome:
    count: int
    dim: int
    known: int  # of an unchanged image and network, from the cache
    before: int  # described by an interrupted run
    seconds: float  # for the others
    failed: int
    report_path: Path
    precision: str  # of the backbone

    @property
    def described(self) -> int:
        return self.count - self.known - self.before

    def sentence(self) -> str:
        earlier = f", {self.known} of them known already" if self.known else ""
        earlier += f", {self.before} of them by an earlier run" if self.before else ""
        rate = f", {self.described / self.seconds:.1f} images a second" if self.described else ""
        left_out = ""
        if self.failed:
            left_out = f"; {self.failed} images could not be read and have none, see"
            left_out += f" {self.report_path}"
        what = f"{self.count} descriptors of {self.dim} dimensions in {self.precision}"
        return f"{what}{earlier}{rate}{left_out}"


def run(
    path: Path,
    work: Work,
    scratch: Path,
    stage: str,
    values: Mapping[str, object],
    index: Path,
    network: Path,
    runtime: RuntimeSettings,
    say: Callable[[str], None],
) -> Outcome:
    """Extracts with all processes; resumes a run with the same `values`, files and machine."""
    device = prepare(runtime)
    with joined(device) as group:
        precision = resolve_precision(work.settings.precision, device, say)
        settings = work.settings.model_copy(update={"precision": precision})
        same = {"precision": precision} | machine(device) | work.model.versions
        kept = scratch_for(scratch, stage, dict(values) | same, (index, network))
        form = [work.source.settings.model_dump(), settings.stored]
        told = {**work.attributes, NETWORK: digest(network)}
        key = digest(form, same, told[NETWORK], *sources("images", "model", "extract"))
        known = KeptDescriptors(cache_at(CACHE, runtime, say), key)
        work = replace(work, settings=settings, attributes=told)
        return extract(path, work, kept, device, runtime, group, known)


def extract(
    path: Path,
    work: Work,
    kept: Scratch,
    device: torch.device,
    runtime: RuntimeSettings,
    group: Group = ALONE,
    known_before: KeptDescriptors = NOTHING_KEPT,
) -> Outcome:
    """Describes the images into an HDF5 file, in which `failed` marks unreadable images.

    What is known already is copied. A descriptor does not depend on the images beside it, so that
    the file is the same however much was known, however often the work was interrupted and
    however many processes share it.
    """
    index, contents = work.source.index, contents_of(work.source, work.rows)
    asked = resolve_precision(work.settings.precision, device)
    precision = work.model.own_precision or asked
    origin = {"set": index.set_name, SIGNATURE: signature(index), "precision": precision}
    unfinished, known_path = kept.folder / FILE, kept.folder / KNOWN
    if group.is_first and not (unfinished.exists() and known_path.exists()):
        kept.remove()
        stored = np.dtype(work.settings.stored)
        empty = {"descriptors": (work.shape, stored), "failed": (work.shape[:1], np.dtype(bool))}
        arrays = {CONTENTS: contents, **work.arrays}
        prepare_hdf5(unfinished, empty, arrays, {**origin, **work.attributes})
        found = known_before.copy_known(unfinished, contents)
        reserve(kept.folder / MARKS, 4 * int((~found).sum()))
        write_bytes(known_path, found.tobytes())  # last: now the work can be gone on with
    _see_the_same(kept.folder, group)
    is_known = np.frombuffer(known_path.read_bytes(), bool)
    batches = plan_batches(work.source.sizes(), work.rows[~is_known])
    blocks = [np.searchsorted(work.rows, batch) for batch in batches]
    with Unfinished.opened(kept.folder, blocks) as file:
        mine = range(len(blocks))[group.share]
        done = np.array([file.is_whole(block) for block in mine], bool)
        done = group.interleave(done)
        before = sum(len(blocks[block]) for block in np.flatnonzero(done))
        start = time.perf_counter()
        todo = np.flatnonzero(~done)[group.share].tolist()
        problems = _describe(file, todo, batches, work, device, runtime, group)
    problems = {row: what for part in group.gather(problems) for row, what in part.items()}
    seconds = time.perf_counter() - start
    if group.is_first:
        publish(file.path, path)
        what = f"{len(contents)} descriptors of {index.set_name}"
        known_before.keep(path, np.where(np.isin(work.rows, [*problems]), -1, contents), what)
        kept.remove()
        _report(work.report_path, work.source, problems)
    known, failed = int(is_known.sum()), len(problems)
    return Outcome(*work.shape, known, before, seconds, failed, work.report_path, precision)


def _describe(
    file: Unfinished,
    todo: Sequence[int],
    batches: Sequence[np.ndarray],
    work: Work,
    device: torch.device,
    runtime: RuntimeSettings,
    group: Group,
) -> dict[int, str]:
    """Describes this process's blocks; returns the images that failed, and why."""
    source = _BlackIfUnreadable(**vars(work.source))
    model, wanted = placed(work.model, device), [batches[block] for block in todo]
    total = sum(map(len, wanted))
    label = "describing" if group.size == 1 else f"describing, process 1 of {group.size}"
    with closing(stream(source, wanted, runtime)) as loaded, counting(total, label) as count:
        found = describe_batches(model, loaded, device, work.settings.precision)
        for block, part in zip(todo, found, strict=True):
            failed = np.isin(part.rows, list(source.problems))
            if failed.any() and work.settings.unreadable == "stop":
                _refuse(work, source.problems, runtime, group)
            file.put(block, part.values.numpy(), failed)
            count(len(failed), len(source.problems))
    return source.problems


@dataclass(frozen=True)
class _BlackIfUnreadable(ImageSource):
    """Gives a black image in place of an unreadable one, so that batches stay as planned."""

    problems: dict[int, str] = field(default_factory=dict)

    def pixels(self, row: int) -> np.ndarray:
        found = self.pixels_or_problem(row)
        if isinstance(found, np.ndarray):
            return found
        self.problems[row] = found
        width, height = self.take(np.array([row])).sizes()[0]
        return np.zeros((height, width, 3), np.uint8)


def _refuse(work: Work, known: Mapping[int, str], runtime: RuntimeSettings, group: Group) -> None:
    """Checks all files and raises one error that lists every unreadable one."""
    source, problems = work.source, dict(known)
    with ThreadPoolExecutor(runtime.workers) as pool:
        looked = pool.map(source.problem, work.rows.tolist())
        looked = progress(looked, len(work.rows), "looking for others")
        for row, problem in zip(work.rows.tolist(), looked, strict=True):
            if problem is not None:
                problems.setdefault(row, problem)
    path = work.report_path
    if group.rank:  # several processes may come here
        path = path.with_stem(f"{path.stem}_{group.rank + 1}")
    _report(path, source, problems)
    lines = [f"{source.index.names[row]} {problems[row]}" for row in sorted(problems)]
    more = f"; …; {path} lists them all" if len(lines) > SHOWN else ""
    name = source.index.set_name
    raise UserError(
        f"{len(lines)} of {len(work.rows)} images below {source.folder} are unreadable or changed"
        f" since {name} was parsed: {'; '.join(lines[:SHOWN])}{more}: restore them, or run"
        f" `dvc repro -f -s parse_mat@{name}` to use them as they are, or set extraction.unreadable"
        " to leave_out; the descriptors computed so far are kept."
    )


def _report(path: Path, source: ImageSource, problems: Mapping[int, str]) -> None:
    names = source.index.names
    write_report(path, [f"{names[row]} {problems[row]}" for row in sorted(problems)])


def _see_the_same(folder: Path, group: Group) -> None:
    """Checks that all processes have the same work and see the same folder."""
    if group.size == 1:
        return
    token = folder / "token"
    if group.is_first:
        write_text(token, uuid4().hex)
    names = group.gather(folder.name)
    if len(set(names)) > 1:
        raise UserError(
            "the processes of this run have different images, networks, parameters, code, versions"
            " of PyTorch, NumPy or Pillow, or processors, so their descriptors would differ: make"
            " all machines alike, or use one."
        )
    seen = group.gather(token.read_text() if token.exists() else "")
    if len(set(seen)) > 1:
        raise UserError(
            f"not all machines see the same {folder}: put the project's folder artifacts on storage"
            " that they share."
        )


class SideParams(ExtractionSettings):
    images: Annotated[ImageSettings, At("datasets.{dataset}.images")]
    folder: Annotated[Name, At("datasets.{dataset}.folder")]
    runtime: Annotated[RuntimeSettings, At("runtime")]


def describe_side(side: Side, dataset: str, variant: str, p: SideParams) -> dict[str, float]:
    """Goes on where it was interrupted; returns what `vpr table` tells of its cost."""
    inputs = (paths.index(dataset, side), paths.model(variant))
    source = open_source(inputs[0], paths.RAW / p.folder, p.images)
    report = paths.REPORTS / f"{dataset}_{CALLED[side]}_unreadable.txt"
    work = Work(read_variant(inputs[1]), source, np.arange(len(source.index)), p, report)
    values = p.model_dump(include={"images", "precision", "stored"})
    out = paths.descriptors(dataset, variant, "full", side)
    stage = f"extract_{side}"
    outcome = run(out, work, paths.SCRATCH, stage, values, *inputs, p.runtime, typer.echo)
    typer.echo(f"{dataset} {CALLED[side]}: {outcome.sentence()}")
    images = outcome.described
    return {"described": images, "describing": outcome.seconds if images else 0.0}
