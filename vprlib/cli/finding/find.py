"""Finds where photographs were taken: the command `vpr find`."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from vprlib.cli import options
from vprlib.cli.choice import SetParams, choose
from vprlib.cli.finding.answers import HEADER, Answer, as_geojson, as_object, as_rows, as_text
from vprlib.cli.finding.around import asked_around
from vprlib.cli.finding.describers import describer
from vprlib.cli.finding.looked_up import LookedUp, Question, check_degrees, in_map
from vprlib.cli.finding.searching import (
    PlaceParams,
    check_sequence,
    depth_of,
    find,
    judged,
    looked_again,
    photographs,
    searcher_of,
)
from vprlib.evaluate.gallery import Panel, sheet
from vprlib.images.batches import ImageSource
from vprlib.images.decode import ImageSettings
from vprlib.images.index import check_order, read_index
from vprlib.pipeline.artifacts import write_bytes, write_text
from vprlib.pipeline.command import printable
from vprlib.pipeline.explained import check_place
from vprlib.pipeline.params import UserError
from vprlib.places.projection import degrees_of
from vprlib.search.request import Neighbors


def gallery(photos: ImageSource, database: ImageSource, found: Neighbors, one: Answer) -> bytes:
    """A PNG of the photograph beside the images found for it."""
    panels = []
    for rank, (row, distance) in enumerate(found.of(0)[: len(one.names)]):
        at = database.index.positions[row]
        where = "position unknown" if np.isnan(at).any() else f"{at[0]:.2f}, {at[1]:.2f}"
        title = f"{rank + 1}   distance {distance:.3f}"
        notes = (f"score {one.similar[rank]:.3f}", where, database.index.names[row])
        panels.append(Panel(database.pixels(row), title, notes))
    return sheet(Panel(photos.pixels(0), "photograph", (photos.index.names[0],)), panels)


def rendered(answers: Sequence[Answer], kind: str) -> str:
    """All answers in one of the formats for programs."""
    if kind == "json":
        return json.dumps([as_object(a) for a in answers], indent=2, allow_nan=False) + "\n"
    if kind == "geojson":
        return json.dumps(as_geojson(answers), indent=2, allow_nan=False) + "\n"
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([HEADER, *as_rows(answers)])
    return text.getvalue()


def in_files(q: Question) -> LookedUp:
    """Asks the descriptors and the index that `dvc repro` has made."""
    choice = choose(*q.names)
    p = SetParams.load(dataset=choice.dataset)
    database = read_index(choice.index_path)
    place = PlaceParams.load(dataset=choice.dataset)
    degrees = degrees_of(database, place.zone)
    check_degrees(q, degrees is not None, choice.dataset)
    folder, index = photographs(q.photo, p.runtime.workers)
    around = asked_around(q.near, q.within_m, q.inside, folder, index, degrees, choice.dataset)
    photos = ImageSource(index, folder, p.images)
    check_order(choice.descriptors_path, database)
    describe = describer(q.onnx, choice, p, use_export=not q.is_folder)
    search = searcher_of(choice, around, q.frames, index, database)
    depth = depth_of(q.count, q.verify)
    found = find(photos, describe, choice, len(database), depth, p.runtime, search)
    stored = ImageSource(database, p.image_dir, p.images)
    seen = (
        looked_again(choice, found, photos, stored, place.calibrated_on, p.runtime)
        if q.verify
        else judged(choice, found, database, q.frames)
    )
    only = "" if around is None else f", of {len(around.groups[0].among)} of them"
    of = f"{len(database)} images of {choice.dataset} ({choice.variant}, {choice.code}){only}"
    lost = 0 if around is None else len(around.lost)
    return LookedUp(choice, p, photos, database, degrees, seen, of, lost)


def main(
    photo: Annotated[Path, typer.Argument(help="a photograph, or a folder of photographs")],
    dataset: options.Dataset = None,
    variant: options.Variant = None,
    code: options.Code = None,
    count: Annotated[int, typer.Option("-k", min=1, help="how many images to find")] = 5,
    near: Annotated[
        str | None,
        typer.Option(
            help="search only around LAT,LON; or exif: around each photograph's own GPS; or a CSV"
            " of path, lat, lon"
        ),
    ] = None,
    within_m: Annotated[float | None, typer.Option("--within", help="metres around --near")] = None,
    inside: Annotated[
        str | None, typer.Option("--box", help="search only in SOUTH,WEST,NORTH,EAST")
    ] = None,
    frames: Annotated[
        int,
        typer.Option("--sequence", min=1, max=101, help="frames of a drive to look at, such as 5"),
    ] = 1,
    verify: Annotated[
        bool, typer.Option("--verify", help="compare local features too, and reorder by them")
    ] = False,
    onnx: Annotated[
        Path | None, typer.Option(help="use this file of `vpr model export`, not PyTorch")
    ] = None,
    map_place: Annotated[
        str | None, typer.Option("--map", help="search in this map of `vpr map push` instead")
    ] = None,
    approximate: Annotated[
        bool, typer.Option("--approximate", help="with --map: faster, by the map's graph")
    ] = False,
    picture: Annotated[
        Path | None, typer.Option(help="also write a PNG of one photograph and its results")
    ] = None,
    out: options.OptionalOut = None,
    as_json: options.AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="print CSV: a row for each result")] = False,
    as_map: Annotated[bool, typer.Option("--geojson", help="print GeoJSON, for maps")] = False,
) -> None:
    """Print where a photograph was taken, and the database images that are most like it.

    The score is the cosine similarity of the descriptors, 1 − distance² / 2. Results of one place
    have the same letter, and the estimate is the middle of those of the first place. The last line
    says how reliable the first result is. For a folder, the output is a CSV table. --out writes it
    to a file.
    """
    kinds = [k for k, on in (("json", as_json), ("csv", as_csv), ("geojson", as_map)) if on]
    names = dataset, variant, code
    where = near, within_m, inside
    question = Question(
        photo, names, count, *where, frames, verify, onnx, picture, kinds == ["geojson"]
    )
    is_folder = question.is_folder
    if picture is not None and is_folder:
        raise UserError(f"--picture needs one photograph, but {photo} is a folder: name a file.")
    check_sequence(frames, is_folder, near, inside)
    if len(kinds) > 1:
        raise UserError(f"--{kinds[0]} and --{kinds[1]} are two formats: leave one out.")
    if approximate and map_place is None:
        raise UserError("--approximate asks the graph of a map: add --map.")
    for path in filter(None, (picture, out)):
        check_place(path)
    found = in_files(question) if map_place is None else in_map(question, map_place, approximate)
    photos = found.photos
    answers = found.seen.answers(photos.index, found.database, found.degrees, count)
    if picture is not None:
        as_stored = ImageSettings(resize=None, exif_rotate=found.p.images.exif_rotate)
        shown = ImageSource(photos.index, photos.folder, as_stored)
        whole = ImageSource(found.database, found.p.image_dir, as_stored)
        write_bytes(picture, gallery(shown, whole, found.seen.found, answers[0]))
    kind = kinds[0] if kinds else "csv" if is_folder or out is not None else ""
    if kind:
        text = rendered(answers, kind)
        if out is not None:
            write_text(out, text)
        else:
            typer.echo(text, nl=False)
    if not is_folder and (not kinds if out is not None else not kind):
        typer.echo(f"{printable(str(photo))}: the nearest of {found.of}\n{as_text(answers[0])}")
        typer.echo(answers[0].verdict or found.seen.unknown)
    if found.lost:
        typer.echo(
            f"{found.lost} photographs have no position, or no image of the database around"
            " them: nothing was found for them.",
            err=True,
        )
