"""Searches the database for photographs: everywhere, around places, or along a drive."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from vprlib.cli.choice import Choice
from vprlib.cli.finding.answers import Answer, answer
from vprlib.cli.finding.around import Around
from vprlib.cli.finding.describers import ExportDescriber, NetworkDescriber
from vprlib.descriptors.codes import Code
from vprlib.descriptors.quantisers import Coded
from vprlib.descriptors.rows import Rows
from vprlib.descriptors.settings import SearchSettings
from vprlib.evaluate.confidence import DEPTH, Calibration, Thresholds, read_calibration
from vprlib.formats.checks import is_image
from vprlib.images.batches import ImageSource
from vprlib.images.index import ImageIndex, build_index
from vprlib.pipeline import paths
from vprlib.pipeline.params import At, StageParams, UserError
from vprlib.pipeline.runtime import RuntimeSettings
from vprlib.places.projection import Zone
from vprlib.search.approximate import searcher
from vprlib.search.groups import InGroups
from vprlib.search.request import Neighbors, Searcher, SearchRequest, collect
from vprlib.search.sequences import SequenceSettings, along_folders

DISTINCT_M = 25.0  # results farther apart are other places, where nothing is calibrated


class CodeParams(StageParams):
    search: Annotated[SearchSettings | None, At("code_defs.{code}.search")]


class PlaceParams(StageParams):
    calibrated_on: Annotated[str, At("calibrate_on")]
    zone: Annotated[Zone, At("datasets.{dataset}.utm_zone")]


def photographs(path: Path, workers: int) -> tuple[Path, ImageIndex]:
    """The folder and index of one photograph, or of all images below a folder.

    Every image is opened, so that an unreadable one is reported before any is described. Other
    files, by their names, are told of; hidden ones are not.
    """
    folder = path if path.is_dir() else path.parent
    if path.is_dir():
        below = (file.relative_to(path) for file in sorted(path.rglob("*")) if file.is_file())
        shown = [str(file) for file in below if not any(p.startswith(".") for p in file.parts)]
        names = [name for name in shown if is_image(name)]
        if others := [name for name in shown if not is_image(name)]:
            typer.echo(f"{len(others)} files are no images by their names: {others[0]} …", err=True)
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
    search: Searcher,
) -> Neighbors:
    """The `count` nearest of the database's `images` for each photograph."""
    code = choice.read_code(whitens=False)
    with choice.descriptors("db", images) as database:
        vectors = describe(photos, runtime)
        check_length(vectors, database, describe.path)
        return nearest(vectors, database, code, count, runtime, choice.failed_rows(), search)


def check_length(vectors: np.ndarray, database: Rows, network: Path) -> None:
    if vectors.shape[1] != database.shape[1]:
        raise UserError(
            f"{network} gives {vectors.shape[1]} dimensions, but the descriptors of the database"
            f" have {database.shape[1]}: run `dvc repro` to compute them again."
        )


def nearest(
    vectors: np.ndarray,
    database: Rows,
    code: Code,
    count: int,
    runtime: RuntimeSettings,
    failed: np.ndarray,
    search: Searcher,
) -> Neighbors:
    """The `count` nearest of the database for each vector [N, D], which is rounded as a query."""
    quantiser = code.quantiser("queries", vectors.shape[1])
    queries: Rows = quantiser.encode(vectors)
    if code.codes_queries:
        queries = Coded(queries, quantiser)
    budget = runtime.memory_bytes, runtime.cores
    return collect(search, SearchRequest(queries, database, count, *budget, failed))


def depth_of(count: int, verify: bool) -> int:
    """How many results are needed: a score looks at other places, a second look at many."""
    if not verify:
        return max(count, DEPTH)
    from vprlib.verify.settings import MatchSettings

    return max(count, DEPTH, MatchSettings.load().top)


def searcher_of(
    choice: Choice, around: Around | None, frames: int, photos: ImageIndex, database: ImageIndex
) -> Searcher:
    """How the code is searched: around places, or with the frames beside each photograph."""
    settings = CodeParams.load(code=choice.code).search
    if frames > 1:
        if settings is not None:
            raise UserError(
                f"--sequence needs an exact search, but the code {choice.code} has an index: name"
                " another by --code."
            )
        return along_folders(SequenceSettings(frames=frames), photos.names, database.names)
    search = searcher(choice.search_index_path, settings)
    return search if around is None else InGroups(search, around.groups)


def check_sequence(frames: int, is_folder: bool, near: str | None, inside: str | None) -> None:
    if frames == 1:
        return
    if frames % 2 == 0:
        raise UserError(f"--sequence is {frames}, but the photograph asked is the middle one: odd.")
    if not is_folder:
        raise UserError("--sequence needs the photographs of a drive: name their folder.")
    if near is not None or inside is not None:
        raise UserError("--sequence looks along whole drives: leave --near and --box out.")


@dataclass(frozen=True)
class Seen:
    """The results of all photographs, and how sure each first one is."""

    found: Neighbors
    scores: np.ndarray  # [Q]
    thresholds: Thresholds | None  # None: not calibrated
    unknown: str  # why, in that case
    distinct_m: float = DISTINCT_M
    inliers: np.ndarray | None = None  # [Q, K] after a second look

    def answers(
        self, photos: ImageIndex, database: ImageIndex, degrees: np.ndarray | None, count: int
    ) -> list[Answer]:
        """An answer for each photograph, from its first `count` results."""
        names = enumerate(photos.names)
        return [self.answer(query, name, database, degrees, count) for query, name in names]

    def answer(
        self, query: int, name: str, database: ImageIndex, degrees: np.ndarray | None, count: int
    ) -> Answer:
        rows = self.found.of(query)[:count]
        inliers = None if self.inliers is None else self.inliers[query, : len(rows)]
        judged = self.thresholds, float(self.scores[query])
        return answer(name, database, degrees, rows, self.distinct_m, *judged, inliers)


def judged(choice: Choice, found: Neighbors, database: ImageIndex, frames: int) -> Seen:
    """By the distances and what `calibrate` knows of them."""
    path = choice.calibration_path
    known = read_calibration(path) if path.exists() else None
    if known is None:
        why = f"not calibrated: {path} is missing, so nothing is known of how sure this is;"
        return judged_by(None, found, database, f"{why} `dvc repro` makes it")
    if known.frames != frames:
        why = f"not calibrated: {path} is of sequences of {known.frames} frames"
        return judged_by(None, found, database, why)
    return judged_by(known, found, database)


def judged_by(
    known: Calibration | None, found: Neighbors, database: ImageIndex, unknown: str = ""
) -> Seen:
    """`unknown` says why nothing is known."""
    if known is None:
        return Seen(found, np.full(len(found.rows), np.nan), None, unknown)
    scores = known.scores(found.rows, found.distances, database.positions)
    return Seen(found, scores, known, "", known.distinct_m)


def looked_again(
    choice: Choice,
    found: Neighbors,
    photos: ImageSource,
    database: ImageSource,
    calibrated_on: str,
    runtime: RuntimeSettings,
) -> Seen:
    """By local features, and what `second_look` knows of how many must agree."""
    from vprlib.verify.judge import read_inlier_thresholds
    from vprlib.verify.rerank import look_again
    from vprlib.verify.settings import KeypointSettings, MatchSettings

    settings = KeypointSettings.load(), MatchSettings.load()
    again = look_again(photos, database, found, *settings, runtime)
    path = paths.inlier_thresholds(calibrated_on, choice.variant, choice.code)
    known = read_inlier_thresholds(path) if path.exists() else None
    why = f"not calibrated: {path} is missing; add {calibrated_on} to rerank_on, and `dvc repro`"
    scores = again.inliers[:, 0].astype(float)
    return Seen(Neighbors(again.rows, again.distances), scores, known, why, inliers=again.inliers)
