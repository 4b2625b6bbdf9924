"""Finds where photographs were taken: `python -m vprlib.find PHOTO`."""

import csv
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Protocol

import numpy as np
import typer

from vprlib import command
from vprlib.artifacts import write_bytes, write_csv
from vprlib.batches import ImageSource
from vprlib.coded_search import search
from vprlib.codes import read_code
from vprlib.descriptors import opened_code
from vprlib.exported import Exported, identity
from vprlib.gallery import Panel, sheet
from vprlib.images import ImageSettings
from vprlib.index import ImageIndex, build_index, read_index
from vprlib.outputs import existing
from vprlib.params import At, StageParams, UserError
from vprlib.quantisers import Coded
from vprlib.runtime import RuntimeSettings
from vprlib.search import Neighbors

HEADER = ("photograph", "rank", "database", "distance", "score", "easting", "northing")


class Switches(StageParams):
    eval_on: Annotated[list[str], At("eval_on")]
    variants: Annotated[list[str], At("variants")]
    codes: Annotated[list[str], At("codes")]


class Params(StageParams):
    images: Annotated[ImageSettings, At("datasets.{dataset}.images")]
    folder: Annotated[str, At("sets.{dataset}.folder")]
    runtime: Annotated[RuntimeSettings, At("runtime")]


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

    def __init__(self, choice: Choice) -> None:
        self.choice = choice

    @property
    def name(self) -> Path:
        return self.choice.model_path

    def __call__(self, asked: ImageSource, runtime: RuntimeSettings) -> np.ndarray:
        from vprlib.describe import describe_into
        from vprlib.device import prepare
        from vprlib.model import read_model

        device = prepare(runtime)
        model = read_model(self.name).to(device)
        vectors = np.empty((len(asked.index), model.dim), np.float32)
        describe_into(vectors, model, asked, np.arange(len(vectors)), device, runtime)
        return read_code(self.choice.coder_path).apply(vectors)


class Export:
    """A network that `vprlib.export` has written, where it is of what is searched."""

    def __init__(self, path: Path, choice: Choice, images: ImageSettings, threads: int) -> None:
        if not path.exists():
            raise UserError(f"{path} is missing: write it by `python -m vprlib.export`.")
        self.name, self.network = path, Exported(path, threads)
        wanted = identity(choice.variant, choice.model_path, choice.code, choice.coder_path, images)
        differences = self.network.identity.differences(wanted)
        if differences:
            raise UserError(
                f"{path} {'; it '.join(differences)}: export it again by `python -m vprlib.export`,"
                " or leave it out."
            )

    def __call__(self, asked: ImageSource, runtime: RuntimeSettings) -> np.ndarray:
        return self.network.describe(asked, runtime)


def describer(
    onnx: Path | None, choice: Choice, images: ImageSettings, is_one: bool, threads: int
) -> Describer:
    """The export asked for; for one photograph one that is there; or else the network itself."""
    if onnx is not None:
        return Export(onnx, choice, images, threads)
    if is_one and choice.onnx_path.exists():
        try:
            return Export(choice.onnx_path, choice, images, threads)
        except UserError as error:
            typer.echo(f"without the export: {error}", err=True)
    return Network(choice)


def find(
    asked: ImageSource,
    describe: Describer,
    choice: Choice,
    images: int,
    count: int,
    runtime: RuntimeSettings,
) -> Neighbors:
    """The nearest database images of each photograph; the network is loaded once."""
    full, code = choice.descriptors_path, read_code(choice.coder_path, whitens=False)
    with opened_code(choice.coded_path, "database", full, images) as database:
        vectors = describe(asked, runtime)
        if vectors.shape[1] != database.shape[1]:
            raise UserError(
                f"{describe.name} gives {vectors.shape[1]} dimensions, but the database was"
                f" described in {database.shape[1]}: run `dvc repro` so that one network made both."
            )
        quantiser = code.quantiser("queries", vectors.shape[1])
        queries = Coded(quantiser.encode(vectors), quantiser)
        return search(queries, database, count, runtime.memory_bytes, runtime.cores)


def score(distances: np.ndarray) -> np.ndarray:
    """Cosine similarity of unit vectors: one where they are equal."""
    return 1 - distances**2 / 2


def as_rows(asked: ImageIndex, database: ImageIndex, found: Neighbors) -> list[tuple[object, ...]]:
    """A row a database image found; positions are empty where they are unknown."""
    similar = score(found.distances)
    return [
        (
            asked.names[query],
            rank + 1,
            database.names[row],
            f"{found.distances[query, rank]:.6f}",
            f"{similar[query, rank]:.6f}",
            *("" if np.isnan(value) else float(value) for value in database.positions[row]),
        )
        for (query, rank), row in np.ndenumerate(found.rows)
    ]


def listing(title: str, database: ImageIndex, found: Neighbors) -> str:
    """What was found for one photograph, as aligned text."""
    lines = [title, "rank  distance  score      easting     northing  image"]
    for rank, (row, distance) in enumerate(zip(found.rows[0], found.distances[0], strict=True), 1):
        place = ("-" if np.isnan(value) else f"{value:.2f}" for value in database.positions[row])
        cells = (f"{cell:>11}" for cell in place)
        lines.append(
            f"{rank:4}  {distance:8.4f}  {score(distance):5.3f}  {'  '.join(cells)}"
            f"  {database.names[row]}"
        )
    return "\n".join(lines)


def gallery(asked: ImageSource, database: ImageSource, found: Neighbors) -> bytes:
    """The photograph and the images found for it, as they would hang on a wall."""
    panels = []
    for rank, (row, distance) in enumerate(zip(found.rows[0], found.distances[0], strict=True), 1):
        position = database.index.positions[row]
        where = (
            "position unknown" if np.isnan(position).any() else "{:.2f}, {:.2f}".format(*position)
        )
        title = f"{rank}   distance {distance:.3f}"
        notes = (f"score {score(distance):.3f}", where, database.index.names[row])
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
    """
    if picture is not None and photo.is_dir():
        raise UserError(f"--picture shows one photograph, but {photo} is a folder: name one in it.")
    choice = choose(dataset, variant, code)
    p = Params.load(dataset=choice.dataset)
    database = read_index(choice.index_path)
    folder, index = photographs(photo, p.runtime.workers)
    asked = ImageSource(index, folder, p.images)
    describe = describer(onnx, choice, p.images, not photo.is_dir(), p.runtime.cores)
    found = find(asked, describe, choice, len(database), count, p.runtime)
    rows = as_rows(index, database, found)
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
    elif out is None:
        csv.writer(sys.stdout, lineterminator="\n").writerows([HEADER, *rows])


if __name__ == "__main__":
    command.run(main)
