"""A specification and the folder of its images: two indices and what can be counted at once."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vprlib.formats.checks import Findings, Presence, find_images, look_over, refuse_degrees
from vprlib.formats.listing import read_metadata
from vprlib.formats.specification import Layout, Specification
from vprlib.images.index import SESSION, ImageIndex, Looked, Unreadable, build_index
from vprlib.images.seen import Seen
from vprlib.pipeline.artifacts import write_report
from vprlib.pipeline.command import printable
from vprlib.pipeline.params import UserError
from vprlib.places.geo import chance_recall, locations, pairs_of
from vprlib.places.truth import Listed, Near, Truth, apart_by_session


@dataclass(frozen=True)
class ParsedSet:
    """Both sides as they are on disk, and what is odd about them."""

    database: ImageIndex
    queries: ImageIndex
    findings: Findings

    @property
    def unread(self) -> int:
        """How many images could not be read, where that stops nothing."""
        return len(self.database.unread) + len(self.queries.unread)


@dataclass(frozen=True)
class Summary:
    """What a set looks like before any network sees it; the radii are the specification's own.

    Where lists tell what is right, there are no positions and no radii.
    """

    database: int
    queries: int
    database_positions: int | None  # distinct ones
    query_positions: int | None
    query_locations_1m: int | None  # by greedy leader clustering
    positive_radius_m: float | None
    queries_without_positive: int
    mean_positives: float
    chance_recall_1: float
    training_radius_m: float | None
    queries_without_training_positive: int
    mean_training_positives: float

    def sentence(self) -> str:
        where = self.query_positions is not None
        at = f" at {self.query_positions} positions" if where else ""
        near = f" at {self.positive_radius_m:g} m" if where else " on its list"
        return (
            f"{self.database} database images, {self.queries} queries{at},"
            f" {self.queries_without_positive} without a positive{near},"
            f" chance recall@1 {self.chance_recall_1:.4f}"
        )

    def warning(self) -> str:
        if 2 * self.queries_without_positive <= self.queries or not self.queries:
            return ""
        return "; WARNING: more than half of the queries have no positive: is a side of elsewhere?"


def build_indices(
    set_name: str,
    specification: Specification,
    folder: Path,
    metadata_path: Path | None,
    layout: Layout,
    report_path: Path,
    workers: int,
    unreadable: Unreadable = "stop",
    seen: Seen[Looked] | None = None,
) -> ParsedSet:
    """Every image is looked for, and opened if `seen` does not know it.

    The report lists names without a file.
    Or it lists what cannot be read, where that is left out.
    """
    s = specification
    _check_positives(s, set_name)
    every_name = [*s.database_names, *s.query_names]
    metadata = read_metadata(metadata_path, every_name) if metadata_path else {}
    found, asked = (
        find_images([f"{subfolder}/{name}".lstrip("/") for name in names], folder)
        for names, subfolder in (
            (s.database_names, layout.database_dir),
            (s.query_names, layout.queries_dir),
        )
    )
    _check_present(found, asked, folder, report_path, unreadable)
    cut = len(s.database_names)
    database, queries = (
        build_index(
            set_name,
            side.names,
            positions,
            folder,
            {
                **own,
                **{column: values[part] for column, values in metadata.items()},
                **({} if times is None else {"time": times}),
            },
            workers,
            unreadable,
            seen,
        )
        for side, positions, times, own, part in (
            (found, s.database_positions, s.database_times, s.database_extra, slice(cut)),
            (asked, s.query_positions, s.query_times, s.query_extra, slice(cut, None)),
        )
    )
    unread = [index.names[row] for index in (database, queries) for row in index.unread]
    write_report(report_path, unread)
    _check_boxes(queries)
    renamed = found.renamed + asked.renamed
    return ParsedSet(database, queries, look_over(database, queries, s.positive_radius_m, renamed))


def truth_of(specification: Specification) -> Truth:
    """What is right by the specification's own positions and radius, or by its lists."""
    return listed_of(specification) or _near(specification, specification.positive_radius_m)


def _near(s: Specification, radius_m: float) -> Truth:
    near = Near(s.query_positions, s.database_positions, radius_m)
    return apart_by_session(near, s.query_extra, s.database_extra)


def listed_of(specification: Specification) -> Listed | None:
    s = specification
    if s.listed is None:
        return None
    right, doubtful = pairs_of(s.listed.right), pairs_of(s.listed.doubtful)
    training = right if s.listed.training is None else pairs_of(s.listed.training)
    return Listed(right, doubtful, training, len(s.database_names))


def summarise(specification: Specification) -> Summary:
    s = specification
    truth = truth_of(s)
    right = training = truth.counts()
    is_listed = s.listed is not None
    if not is_listed:
        training = _near(s, s.training_radius_m).counts()
    spots = locations(s.query_positions, 1.0)
    return Summary(
        database=len(s.database_names),
        queries=len(s.query_names),
        database_positions=None if is_listed else _distinct(s.database_positions),
        query_positions=None if is_listed else _distinct(s.query_positions),
        query_locations_1m=None if is_listed else int(spots.max(initial=-1)) + 1,
        positive_radius_m=None if is_listed else s.positive_radius_m,
        training_radius_m=None if is_listed else s.training_radius_m,
        queries_without_positive=int((right == 0).sum()),
        mean_positives=float(right.mean()) if len(right) else 0.0,
        chance_recall_1=chance_recall(right, truth.allowed),
        queries_without_training_positive=int((training == 0).sum()),
        mean_training_positives=float(training.mean()) if len(right) else 0.0,
    )


def _distinct(positions: np.ndarray) -> int:
    """How many known positions differ."""
    return len(np.unique(positions[np.isfinite(positions).all(axis=1)], axis=0))


def _check_positives(specification: Specification, set_name: str) -> None:
    s = specification
    needs_queries = SESSION not in s.database_extra  # or else these are photographs
    for side, names in (("database", s.database_names), ("query", s.query_names)):
        if not names and (needs_queries or side == "database"):
            raise UserError(f"the specification of {set_name} names no {side} image.")
    if s.listed is None:
        refuse_degrees(s, set_name)
    if not s.query_names or truth_of(s).counts().any():
        return
    if s.listed is not None:
        raise UserError(f"the lists of {set_name} name no right database image for any query.")
    raise UserError(
        f"no query of {set_name} has a database image within {s.positive_radius_m:g} m:"
        " check that both sides use the same coordinates, in metres."
    )


def _check_present(
    database: Presence, queries: Presence, folder: Path, report_path: Path, unreadable: Unreadable
) -> None:
    missing = [*database.missing, *queries.missing]
    sides = (side for side in (database, queries) if side.names)
    is_some_there = all(len(side.missing) < len(side.names) for side in sides)
    if not missing or (unreadable == "leave_out" and is_some_there):
        write_report(report_path, [])
        return
    write_report(report_path, [printable(name) for name in missing])
    first = ", ".join(missing[:3]) + (", …" if len(missing) > 3 else "")
    counts = " and ".join(
        f"{len(side.missing)} of {len(side.names)} {called} images"
        for side, called in ((database, "database"), (queries, "query"))
    )
    raise UserError(
        f"{counts} are missing below {folder}:"
        f" {first}; {report_path} lists them all; {_remedy(folder, missing[0])}."
    )


def _remedy(folder: Path, name: str) -> str:
    """What to do about a missing image, to end a sentence."""
    if not folder.is_dir():
        return f"link the folder that holds them as {folder}"
    lost = [parent for parent in Path(name).parents if not (folder / parent).is_dir()]
    what = f"the folder {lost[-1]} in it" if lost else "what it holds"
    return f"{folder} is there: complete {what}, or correct `layout` of the set in params.yaml"


def _check_boxes(queries: ImageIndex) -> None:
    """Each box shows some part of its image."""
    if "box" not in queries.extra:
        return
    left, top, right, bottom = queries.extra["box"].T
    widths = np.where(queries.is_rotated, queries.heights, queries.widths)
    heights = np.where(queries.is_rotated, queries.widths, queries.heights)
    outside = (left >= widths) | (top >= heights) | (right <= 0) | (bottom <= 0)
    for row in np.setdiff1d(np.flatnonzero(outside), queries.unread)[:1]:
        raise UserError(
            f"the box of the query {queries.names[row]} is {queries.extra['box'][row].tolist()},"
            f" which is outside its {widths[row]}×{heights[row]} pixels: correct its query file."
        )
