"""Finds where photographs were taken: the command `vpr find`."""

import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from vprlib.cli import options
from vprlib.cli.choice import Choice, choose
from vprlib.cli.describers import DescribeParams, ExportDescriber, NetworkDescriber, describer
from vprlib.cli.output import aligned, echo_json
from vprlib.descriptors.quantisers import Coded
from vprlib.descriptors.rows import Rows
from vprlib.descriptors.settings import SearchSettings
from vprlib.evaluate.confidence import read_calibration, similarity
from vprlib.evaluate.gallery import Panel, sheet
from vprlib.images.batches import ImageSource
from vprlib.images.decode import ImageSettings
from vprlib.images.index import ImageIndex, build_index, check_order, read_index
from vprlib.pipeline import paths
from vprlib.pipeline.artifacts import write_bytes, write_csv
from vprlib.pipeline.command import printable
from vprlib.pipeline.explained import check_place
from vprlib.pipeline.params import At, StageParams, UserError
from vprlib.pipeline.runtime import RuntimeSettings
from vprlib.search.approximate import searcher
from vprlib.search.request import Neighbors, SearchRequest, collect

HEADER = (
    *("photograph", "rank", "database", "distance", "score", "easting", "northing"),
    *("confidence", "sure"),  # of the first result; per cent, no, or empty where not calibrated
)


class CodeParams(StageParams):
    search: Annotated[SearchSettings | None, At("code_defs.{code}.search")]


def photographs(path: Path, workers: int) -> tuple[Path, ImageIndex]:
    """The folder and index of one photograph, or of all files below a folder except hidden ones.

    Every image is opened, so that an unreadable one is reported before any is described.
    """
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


def find(
    photos: ImageSource,
    describe: NetworkDescriber | ExportDescriber,
    choice: Choice,
    images: int,
    count: int,
    runtime: RuntimeSettings,
) -> Neighbors:
    """The `count` nearest of the database's `images` for each photograph."""
    search = searcher(paths.search_index(*choice), CodeParams.load(code=choice.code).search)
    code = choice.read_code(whitens=False)
    with choice.descriptors("db", images) as database:
        vectors = describe(photos, runtime)
        if vectors.shape[1] != database.shape[1]:
            raise UserError(
                f"{describe.path} gives {vectors.shape[1]} dimensions, but the descriptors of the"
                f" database have {database.shape[1]}: run `dvc repro` to compute them again."
            )
        quantiser = code.quantiser("queries", vectors.shape[1])
        queries: Rows = quantiser.encode(vectors)
        if code.codes_queries:
            queries = Coded(queries, quantiser)
        budget = runtime.memory_bytes, runtime.cores
        request = SearchRequest(queries, database, count, *budget, choice.failed_rows())
        return collect(search, request)


def as_rows(
    photos: ImageIndex,
    database: ImageIndex,
    found: Neighbors,
    confidence: Sequence[tuple[str, str]],
) -> list[tuple[object, ...]]:
    """A row for each image found; unknown positions are empty."""
    similar = similarity(found.distances)
    return [
        (
            photos.names[query],
            rank + 1,
            database.names[row],
            f"{found.distances[query, rank]:.6f}",
            f"{similar[query, rank]:.6f}",
            *("" if np.isnan(value) else float(value) for value in database.positions[row]),
            *confidence[query],
        )
        for (query, rank), row in np.ndenumerate(found.rows)
        if row >= 0
    ]


def as_objects(rows: Sequence[tuple[object, ...]]) -> list[dict[str, object]]:
    """The same for JSON: numbers are numbers, and what is unknown is null."""

    def value(name: str, cell: object) -> object:
        if cell == "":
            return None
        return float(str(cell)) if name in ("distance", "score", "confidence") else cell

    return [{n: value(n, cell) for n, cell in zip(HEADER, row, strict=True)} for row in rows]


def as_table(database: ImageIndex, found: Neighbors) -> str:
    """The table of the images found for one photograph."""
    similar = similarity(found.distances)[0]
    rows = [["rank", "distance", "score", "easting", "northing", "image"]]
    for rank, (row, distance) in enumerate(found.of(0), 1):
        place = ("-" if np.isnan(value) else f"{value:.2f}" for value in database.positions[row])
        cells = (f"{distance:.4f}", f"{similar[rank - 1]:.3f}", *place)
        rows.append([str(rank), *cells, database.names[row]])
    return aligned(rows, left=(5,))


def gallery(photos: ImageSource, database: ImageSource, found: Neighbors) -> bytes:
    """A PNG of the photograph beside the images found for it."""
    panels, similar = [], similarity(found.distances)[0]
    for rank, (row, distance) in enumerate(found.of(0), 1):
        at = database.index.positions[row]
        where = "position unknown" if np.isnan(at).any() else f"{at[0]:.2f}, {at[1]:.2f}"
        title = f"{rank}   distance {distance:.3f}"
        notes = (f"score {similar[rank - 1]:.3f}", where, database.index.names[row])
        panels.append(Panel(database.pixels(row), title, notes))
    return sheet(Panel(photos.pixels(0), "photograph", (photos.index.names[0],)), panels)


def main(
    photo: Annotated[Path, typer.Argument(help="a photograph, or a folder of photographs")],
    dataset: options.Dataset = None,
    variant: options.Variant = None,
    code: options.Code = None,
    count: Annotated[int, typer.Option("-k", min=1, help="how many images to find")] = 5,
    onnx: Annotated[
        Path | None, typer.Option(help="use this file of `vpr model export`, not PyTorch")
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(help="also write a PNG of one photograph and its results")
    ] = None,
    out: options.OptionalOut = None,
    as_json: options.AsJson = False,
) -> None:
    """Print the database images that are most like a photograph, and where they are.

    The score is the cosine similarity of the descriptors, 1 − distance² / 2. For one photograph
    the last line says how reliable the first result is. For a folder, the output is a CSV table.
    --out writes it to a file.
    """
    is_folder = photo.is_dir()
    if picture is not None and is_folder:
        raise UserError(f"--picture needs one photograph, but {photo} is a folder: name a file.")
    for path in filter(None, (picture, out)):
        check_place(path)
    choice = choose(dataset, variant, code)
    p = DescribeParams.load(dataset=choice.dataset)
    database = read_index(choice.index_path)
    folder, index = photographs(photo, p.runtime.workers)
    photos = ImageSource(index, folder, p.images)
    check_order(choice.descriptors_path, database)
    describe = describer(onnx, choice, p, use_export=not is_folder)
    path = paths.calibration(choice.variant, choice.code)
    calibration = read_calibration(path) if path.exists() else None
    verdict = f"not calibrated: {path} is missing, so nothing is known of how sure this is;"
    verdict += " `dvc repro` makes it"
    if calibration is not None and calibration.frames > 1:
        verdict = f"not calibrated: {path} is of sequences of {calibration.frames} frames"
        calibration = None
    depth = max(count, calibration.depth) if calibration else count
    deep = find(photos, describe, choice, len(database), depth, p.runtime)
    found = Neighbors(deep.rows[:, :count], deep.distances[:, :count])
    confidence = [("", "")] * len(index)  # and the precision that it reaches, in per cent
    if calibration is not None:
        scores = calibration.scores(deep.rows, deep.distances, database.positions).tolist()
        confidence = [(f"{score:.6f}", calibration.level(score) or "no") for score in scores]
        verdict = calibration.verdict(scores[0])
    rows = as_rows(index, database, found, confidence)
    if picture is not None:
        as_stored = ImageSettings(resize=None, exif_rotate=p.images.exif_rotate)
        shown = ImageSource(index, folder, as_stored)
        stored = ImageSource(database, p.image_dir, as_stored)
        write_bytes(picture, gallery(shown, stored, found))
    if out is not None:
        write_csv(out, HEADER, rows)
    if as_json:
        echo_json(as_objects(rows))
    elif not is_folder:
        of = f"{len(database)} images of {choice.dataset} ({choice.variant}, {choice.code})"
        typer.echo(f"{printable(str(photo))}: the nearest of {of}\n{as_table(database, found)}")
        typer.echo(verdict)
    elif out is None:
        csv.writer(sys.stdout, lineterminator="\n").writerows([HEADER, *rows])
