"""Writes a page that shows all results in a browser: the command `vpr report`."""

import shutil
from collections.abc import Sequence
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Annotated

import typer

from vprlib.cli import options
from vprlib.cli.choice import SetParams, best_variant
from vprlib.cli.report.arrays import write_data
from vprlib.cli.report.context import commit_of, context
from vprlib.cli.report.differences import differences
from vprlib.cli.report.results import Params, Result, read_results
from vprlib.cli.report.revisions import Revision, changed_params, opened_revisions, read_others
from vprlib.cli.report.second import with_second_look
from vprlib.cli.report.sets import answers_of, images_of, wanted
from vprlib.cli.report.thumbnails import Album, write_thumbnails
from vprlib.cli.table import Row, cost, in_use, read_rows
from vprlib.evaluate.failures import CATEGORIES
from vprlib.images.batches import ImageSource
from vprlib.images.decode import ImageSettings
from vprlib.pipeline import paths
from vprlib.pipeline.artifacts import write_zip, writing_folder
from vprlib.pipeline.command import printable, read_notes
from vprlib.pipeline.explained import check_place
from vprlib.pipeline.params import (
    PARAMS_PATH,
    At,
    JsonObject,
    StageParams,
    UserError,
    nearest,
    read_params_file,
)
from vprlib.pipeline.paths import existing
from vprlib.places.projection import Zone

PAGE = Path(__file__).with_name("page")  # what is copied as it is
MARK = '<meta name="generator" content="vpr report">'


class ZoneParams(StageParams):
    utm_zone: Annotated[Zone, At("datasets.{dataset}.utm_zone")]


class Page:
    """What goes into the page, gathered set by set."""

    def __init__(
        self, folder: Path, p: Params, params: JsonObject, revisions: Sequence[Revision]
    ) -> None:
        self.folder, self.p, self.params, self.revisions = folder, p, params, revisions
        self.notes = read_notes()
        self.sets: list[JsonObject] = []
        self.runs: list[JsonObject] = []
        self.differences: list[JsonObject] = []
        self.albums: list[Album] = []
        self.problems: list[str] = []  # with runs of other revisions
        self.changed: dict[str, list[tuple[str, str, str]]] = {}  # parameters, by revision

    def add(self, dataset: str, rows: Sequence[Row]) -> None:
        """Writes the data of one set and of its runs."""
        own = [
            look
            for result in read_results(rows, self.p, self.params)
            for look in with_second_look(existing, result, self.p, self.params)
        ]
        results, problems = read_others(self.revisions, own, self.p)
        self.problems += problems
        self.changed = {r.name: changed_params(r, results[0]) for r in self.revisions}
        zone = ZoneParams.load(dataset=dataset).utm_zone
        name, found = f"set-{len(self.sets)}", results[0].found
        images = images_of(results[0], self.p.failures, zone)
        write_data(self.folder / f"data/{name}.js", name, images)
        self.differences += differences(results, len(self.runs), self.p)
        for result in results:
            self._add_run(result)
        sides = {"queries": len(found.queries), "database": len(found.database)}
        self.sets.append({"name": dataset, "data": name, **sides})
        self.albums.append(Album(_sources(results[0], dataset), wanted(results)))

    def _add_run(self, result: Result) -> None:
        name = f"run-{len(self.runs)}"
        write_data(self.folder / f"data/{name}.js", name, answers_of(result))
        known, look = result.calibration, result.second_look
        is_plain = result.revision is None and look is None
        self.runs.append(
            {
                "set": len(self.sets),
                "name": result.name,
                "variant": result.choice.variant,
                "code": result.choice.code,
                "revision": result.revision,
                "data": name,
                "metrics": result.metrics,
                "sizes": cost(self.notes, *result.choice) if is_plain else {},
                "kind": result.kind,
                "calibrated_on": None if known is None else known.set,
                "thresholds": {} if known is None else known.thresholds,
                "incomparable": result.incomparable,
                "second_look": None if look is None else look.metrics,
            }
        )


def _sources(result: Result, dataset: str) -> tuple[ImageSource, ImageSource]:
    """Database and queries, as they are stored."""
    p = SetParams.load(dataset=dataset)
    settings = ImageSettings(resize=None, exif_rotate=p.images.exif_rotate)
    found = result.found
    return (
        ImageSource(found.database, p.image_dir, settings),
        ImageSource(found.queries, p.image_dir, settings),
    )


def baseline_of(text: str | None, rows: Sequence[Row]) -> tuple[str, str]:
    """The variant and the code to compare with: the first ones, unless others are named."""
    known = list(dict.fromkeys((variant, code) for _, variant, code, _ in rows))
    if text is None:
        return known[0]
    variant, _, code = text.partition(",")
    for pair in known:
        if pair == (variant, code) or (pair[0] == variant and not code):
            return pair
    names = [",".join(pair) for pair in known]
    raise UserError(f"--baseline is {text}, which was not evaluated{nearest(text, names)}.")


def check_target(out: Path, archive: Path | None) -> None:
    """Refuses to replace a folder that is no page of an earlier run."""
    for path in (out, *([archive] if archive is not None else [])):
        check_place(path)
    if archive is not None and archive.is_dir():
        raise UserError(f"--zip is {archive}, which is a folder: name a file.")
    if not out.exists():
        return
    index = out / "index.html"
    if not out.is_dir() or (any(out.iterdir()) and not _is_page(index)):
        raise UserError(f"--out is {out}, which is no page of `vpr report`: name a new folder.")


def _is_page(index: Path) -> bool:
    return index.is_file() and MARK in index.read_text(encoding="utf-8", errors="replace")


def write_page(
    folder: Path,
    earlier: Path,
    rows: Sequence[Row],
    baseline: tuple[str, str],
    budget: int,
    revisions: Sequence[Revision],
) -> list[str]:
    """Fills a folder with the page; gives a line about it, and one for each run it lacks."""
    p, params = Params.load(), read_params_file(PARAMS_PATH)
    shutil.copytree(PAGE, folder, dirs_exist_ok=True)
    page = Page(folder, p, params, revisions)
    for dataset, of_set in groupby(rows, key=lambda row: row[0]):
        page.add(dataset, list(of_set))
    pictures = write_thumbnails(folder, earlier, page.albums, budget, p.runtime.workers)
    names = [found["name"] for found in page.sets]
    summary = {
        "made": datetime.now().astimezone().isoformat(timespec="minutes"),
        "categories": CATEGORIES,
        "ns": p.recall.ns,
        "level": p.interval.level,
        "baseline": baseline,
        "best": (best_variant(p.variants), p.codes[0]),
        "sets": page.sets,
        "runs": page.runs,
        "differences": page.differences,
        "revisions": [
            {"name": name, "params": found, "git": commit_of(name)}
            for name, found in page.changed.items()
        ],
        "problems": page.problems,
        "about": context(params, names, p.train_on),
    }
    write_data(folder / "data/summary.js", "summary", summary)
    write_data(folder / "data/pictures.js", "pictures", pictures)
    count = sum(len(side["names"]) for found in pictures for side in found.values())
    runs, sets = _many(len(page.runs), "run"), _many(len(page.sets), "set")
    return [f"{runs} on {sets}, {count} pictures", *page.problems]


def _many(count: int, name: str) -> str:
    return f"{count} {name}{'s' * (count != 1)}"


def main(
    out: options.Out = paths.PAGE,
    archive: Annotated[
        Path | None, typer.Option("--zip", help="also write the page as one zip file")
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(help="a variant, or variant,code, that others are compared with at first"),
    ] = None,
    others: Annotated[
        list[str] | None,
        typer.Option("--with", help="also the runs of a commit, branch, tag or DVC experiment"),
    ] = None,
    pictures: Annotated[
        int, typer.Option(min=0, max=100_000, help="most pictures; mistakes come first")
    ] = 4000,
) -> None:
    """Write a page that shows the results of all sets, variants and codes in use.

    Open index.html in the folder --out with a browser. It needs no network and no server.
    """
    check_target(out, archive)
    rows = in_use(
        read_rows(paths.result_metrics("recall", "*", "*", "*").parents[1]), Params.load()
    )
    if not rows:
        raise UserError(f"nothing of {PARAMS_PATH} is evaluated: run `dvc repro` first.")
    compared = baseline_of(baseline, rows)
    with opened_revisions(others or ()) as revisions, writing_folder(out) as folder:
        said, *problems = write_page(folder, out, rows, compared, pictures, revisions)
    if archive is not None:
        write_zip(archive, out)
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    for problem in problems:
        typer.echo(printable(problem))
    typer.echo(f"{out / 'index.html'}: {said}, {size / 1e6:.1f} MB; open it in a browser")
