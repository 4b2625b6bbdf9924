"""Finds where photographs were taken: `python -m vprlib.cli.find PHOTO`."""

import csv
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Protocol

import numpy as np
import typer

from vprlib.descriptors.codes import read_code
from vprlib.descriptors.files import failed_rows, opened_code
from vprlib.descriptors.quantisers import Coded
from vprlib.descriptors.rows import Rows
from vprlib.descriptors.settings import SearchSettings
from vprlib.evaluate.confidence import Calibration, read_calibration, similarity
from vprlib.evaluate.gallery import Panel, sheet
from vprlib.images.batches import ImageSource
from vprlib.images.decode import ImageSettings
from vprlib.images.index import ImageIndex, build_index, check, read_index
from vprlib.interop.onnx_run import Exported, identity
from vprlib.model.settings import Precision
from vprlib.pipeline import command
from vprlib.pipeline.artifacts import write_bytes, write_csv
from vprlib.pipeline.params import At, StageParams, UserError
from vprlib.pipeline.paths import existing
from vprlib.pipeline.runtime import RuntimeSettings
from vprlib.search.approximate import searcher
from vprlib.search.exact import Neighbors, SearchParts, collected

HEADER = (
    *("photograph", "rank", "database", "distance", "score", "easting", "northing"),
    *("confidence", "sure"),  # of the first result; per cent, no, or empty where not calibrated
)


class Switches(StageParams):
    eval_on: Annotated[list[str], At("eval_on")]
    variants: Annotated[list[str], At("variants")]
    codes: Annotated[list[str], At("codes")]


class Params(StageParams):
    images: Annotated[ImageSettings, At("datasets.{dataset}.images")]
    folder: Annotated[str, At("sets.{dataset}.folder")]
    precision: Annotated[Precision, At("extraction.precision")]
    runtime: Annotated[RuntimeSettings, At("runtime")]


class Asked(StageParams):
    search: Annotated[SearchSettings | None, At("code_defs.{code}.search")]


@dataclass(frozen=True)
class Choice:
    """Which descriptors are searched, and where what they need lies."""

    dataset: str
    variant: str
    code: str

    @property
    def index_path(self) -> Path:
        return existing(Path(f"data/index/{self.dataset}/db.h5"))

    @property
    def model_path(self) -> Path:
        return existing(Path(f"artifacts/models/{self.variant}.safetensors"))

    @property
    def descriptors_path(self) -> Path:
        return existing(Path(f"artifacts/descriptors/{self.dataset}/{self.variant}/db.h5"))

    @property
    def coded_path(self) -> Path:
        return existing(Path(f"artifacts/codes/{self.dataset}/{self.variant}/{self.code}.h5"))

    @property
    def search_index_path(self) -> Path:
        return Path(f"artifacts/indexes/{self.dataset}/{self.variant}/{self.code}")

    @property
    def calibration_path(self) -> Path:
        return Path(f"artifacts/calibration/{self.variant}-{self.code}.json")

    def calibration(self) -> Calibration | None:
        """What tells a sure answer from another; None where nothing was calibrated."""
        path = self.calibration_path
        return read_calibration(path) if path.exists() else None

    @property
    def onnx_path(self) -> Path:
        return Path(f"artifacts/onnx/{self.variant}-{self.code}.onnx")

    @property
    def coder_path(self) -> Path:
        return existing(Path(f"artifacts/coders/{self.variant}/{self.code}.h5"))


def choose(dataset: str | None, variant: str | None, code: str | None) -> Choice:
    """What is not asked for is the first that the switches name; of networks the trained one."""
    switches = Switches.load()
    best = "trained" if "trained" in switches.variants else switches.variants[-1]
    return Choice(dataset or switches.eval_on[0], variant or best, code or switches.codes[0])


@contextmanager
def searched(
    choice: Choice, images: int
) -> Iterator[tuple[Rows, SearchParts, Callable[[np.ndarray], Rows]]]:
    """The database, how it is searched, and what makes of unrounded vectors [Q, d] queries."""
    settings = Asked.load(code=choice.code).search
    code = read_code(choice.coder_path, whitens=False)

    def as_queries(vectors: np.ndarray) -> Rows:
        quantiser = code.quantiser("queries", vectors.shape[1])
        coded = quantiser.encode(vectors)
        return Coded(coded, quantiser) if code.codes_queries else coded

    with opened_code(choice.coded_path, "database", choice.descriptors_path, images) as stored:
        yield stored, searcher(choice.search_index_path, settings), as_queries


def photographs(path: Path, workers: int) -> tuple[Path, ImageIndex]:
    """One photograph or every file below a folder, but hidden ones; each is opened."""
    folder = path if path.is_dir() else path.parent
    if path.is_dir():
        below = (file.relative_to(path) for file in sorted(path.rglob("*")) if file.is_file())
        names = [str(file) for file in below if not any(p.startswith(".") for p in file.parts)]
        if not names:
            raise UserError(f"{path} holds no photograph: name one, or a folder of them.")
    elif path.exists():
        names = [path.name]
    else:
        raise UserError(f"{path} is missing: name a photograph, or a folder of them.")
    positions = np.full((len(names), 2), np.nan)
    return folder, build_index("photographs", names, positions, folder, {}, workers)


class Describer(Protocol):
    """Makes of photographs what their code keeps, before any rounding."""

    @property
    def name(self) -> Path: ...

    def __call__(self, asked: ImageSource, runtime: RuntimeSettings) -> np.ndarray: ...


class Network:
    """The network itself, by PyTorch, which takes seconds to load."""

    def __init__(self, choice: Choice, precision: Precision) -> None:
        self.choice, self.precision = choice, precision

    @property
    def name(self) -> Path:
        return self.choice.model_path

    def __call__(self, asked: ImageSource, runtime: RuntimeSettings) -> np.ndarray:
        from vprlib.model.describe import describe_into
        from vprlib.model.device import prepare
        from vprlib.model.model import read_model
        from vprlib.model.precision import placed

        device = prepare(runtime)
        model = placed(read_model(self.name), device)
        vectors = np.empty((len(asked.index), model.dim), np.float32)
        rows = np.arange(len(vectors))
        describe_into(vectors, model, asked, rows, device, runtime, precision=self.precision)
        return read_code(self.choice.coder_path).apply(vectors)


class Export:
    """A network that `vprlib.cli.export` has written, where it is of what is searched."""

    def __init__(self, path: Path, choice: Choice, images: ImageSettings, threads: int) -> None:
        if not path.exists():
            raise UserError(f"{path} is missing: write it by `python -m vprlib.cli.export`.")
        self.name, self.network = path, Exported(path, threads)
        wanted = identity(choice.variant, choice.model_path, choice.code, choice.coder_path, images)
        differences = self.network.identity.differences(wanted)
        if differences:
            raise UserError(
                f"{path} {'; it '.join(differences)}: export it again by"
                " `python -m vprlib.cli.export`, or leave it out."
            )

    def __call__(self, asked: ImageSource, runtime: RuntimeSettings) -> np.ndarray:
        return self.network.describe(asked, runtime)


def describer(onnx: Path | None, choice: Choice, p: Params, is_one: bool) -> Describer:
    """The export asked for; for one photograph one that is there; or else the network itself."""
    given = (choice, p.images, p.runtime.cores)
    if onnx is not None:
        return Export(onnx, *given)
    if is_one and choice.onnx_path.exists():
        try:
            return Export(choice.onnx_path, *given)
        except UserError as error:
            typer.echo(f"without the export: {error}", err=True)
    return Network(choice, p.precision)


def find(
    asked: ImageSource,
    describe: Describer,
    choice: Choice,
    images: int,
    count: int,
    runtime: RuntimeSettings,
) -> Neighbors:
    """The nearest database images of each photograph; the network is loaded once."""
    with searched(choice, images) as (database, search, as_queries):
        vectors = describe(asked, runtime)
        if vectors.shape[1] != database.shape[1]:
            raise UserError(
                f"{describe.name} gives {vectors.shape[1]} dimensions, but the database was"
                f" described in {database.shape[1]}: run `dvc repro` so that one network made both."
            )
        absent = failed_rows(choice.descriptors_path)
        budget = runtime.memory_bytes, runtime.cores
        parts = search(as_queries(vectors), database, count, *budget, absent)
        return collected((found for _, found in parts), min(count, images))


def sureness(
    found: Neighbors, database: ImageIndex, calibration: Calibration | None
) -> list[tuple[str, str]]:
    """Of each photograph its confidence and the precision in per cent that it stands for."""
    if calibration is None:
        return [("", "")] * len(found.rows)
    scores = calibration.scores(found.rows, found.distances, database.positions)
    return [(f"{s:.6f}", calibration.level(s) or "no") for s in scores.tolist()]


def as_rows(
    asked: ImageIndex,
    database: ImageIndex,
    found: Neighbors,
    told: Sequence[tuple[str, str]],
) -> list[tuple[object, ...]]:
    """A row a database image found; positions are empty where they are unknown."""
    similar = similarity(found.distances)
    return [
        (
            asked.names[query],
            rank + 1,
            database.names[row],
            f"{found.distances[query, rank]:.6f}",
            f"{similar[query, rank]:.6f}",
            *("" if np.isnan(value) else float(value) for value in database.positions[row]),
            *told[query],
        )
        for (query, rank), row in np.ndenumerate(found.rows)
        if row >= 0
    ]


def listing(title: str, database: ImageIndex, found: Neighbors) -> str:
    """What was found for one photograph, as aligned text."""
    lines = [title, "rank  distance  score      easting     northing  image"]
    for rank, (row, distance) in enumerate(found.of(0), 1):
        place = ("-" if np.isnan(value) else f"{value:.2f}" for value in database.positions[row])
        cells = (f"{cell:>11}" for cell in place)
        lines.append(
            f"{rank:4}  {distance:8.4f}  {similarity(distance):5.3f}  {'  '.join(cells)}"
            f"  {database.names[row]}"
        )
    return "\n".join(lines)


def answer(
    found: Neighbors, database: ImageIndex, calibration: Calibration | None, choice: Choice
) -> str:
    """Whether the first result of one photograph is to be believed."""
    if calibration is None:
        return (
            f"not calibrated: {choice.calibration_path} is missing, so nothing is known of how"
            " sure this is; `dvc repro` makes it"
        )
    scores = calibration.scores(found.rows, found.distances, database.positions)
    return calibration.verdict(float(scores[0]))


def gallery(asked: ImageSource, database: ImageSource, found: Neighbors) -> bytes:
    """The photograph and the images found for it, as they would hang on a wall."""
    panels = []
    for rank, (row, distance) in enumerate(found.of(0), 1):
        position = database.index.positions[row]
        where = (
            "position unknown" if np.isnan(position).any() else "{:.2f}, {:.2f}".format(*position)
        )
        title = f"{rank}   distance {distance:.3f}"
        notes = (f"score {similarity(distance):.3f}", where, database.index.names[row])
        panels.append(Panel(database.pixels(row), title, notes))
    return sheet(Panel(asked.pixels(0), "photograph", (asked.index.names[0],)), panels)


def main(
    photo: Path = typer.Argument(help="a photograph, or a folder of them"),
    dataset: str | None = typer.Option(None, "--set", help="default: the first of eval_on"),
    variant: str | None = typer.Option(None, help="default: trained, where it is evaluated"),
    code: str | None = typer.Option(None, help="default: the first of codes"),
    count: int = typer.Option(5, "-k", min=1, help="how many database images to give"),
    onnx: Path | None = typer.Option(None, help="a file of vprlib.export in place of PyTorch"),
    picture: Path | None = typer.Option(None, help="one photograph: a PNG of it and the results"),
    out: Path | None = typer.Option(None, help="a CSV of what is printed"),
) -> None:
    """Prints the database images most like a photograph, and where they are.

    The score is the cosine similarity of the descriptors, 1 − distance² / 2. A folder gives a CSV.
    Where `calibrate` has run, the last line says whether the first result is to be believed.
    """
    if picture is not None and photo.is_dir():
        raise UserError(f"--picture shows one photograph, but {photo} is a folder: name one in it.")
    choice = choose(dataset, variant, code)
    p = Params.load(dataset=choice.dataset)
    database = read_index(choice.index_path)
    folder, index = photographs(photo, p.runtime.workers)
    asked = ImageSource(index, folder, p.images)
    check(choice.descriptors_path, database)
    describe = describer(onnx, choice, p, is_one=not photo.is_dir())
    calibration = choice.calibration()
    depth = max(count, calibration.depth) if calibration else count
    deep = find(asked, describe, choice, len(database), depth, p.runtime)
    found = Neighbors(deep.rows[:, :count], deep.distances[:, :count])
    told = sureness(deep, database, calibration)
    rows = as_rows(index, database, found, told)
    if picture is not None:
        as_stored = ImageSettings(resize=None, exif_rotate=p.images.exif_rotate)
        shown = ImageSource(index, folder, as_stored)
        stored = ImageSource(database, Path("data/raw") / p.folder, as_stored)
        write_bytes(picture, gallery(shown, stored, found))
    if out is not None:
        write_csv(out, HEADER, rows)
    if not photo.is_dir():
        of = f"{len(database)} images of {choice.dataset} ({choice.variant}, {choice.code})"
        typer.echo(listing(f"{photo}: the nearest of {of}", database, found))
        typer.echo(answer(deep, database, calibration, choice))
    elif out is None:
        csv.writer(sys.stdout, lineterminator="\n").writerows([HEADER, *rows])


if __name__ == "__main__":
    command.run(main)
