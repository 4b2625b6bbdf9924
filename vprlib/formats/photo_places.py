"""Looks at photographs one by one, and finds out where each of them was taken."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from vprlib.formats.checks import images_below
from vprlib.formats.gpx import on_track, read_tracks
from vprlib.formats.listing import positions_by_name, tells_positions
from vprlib.formats.utm_names import positions_of
from vprlib.images.decode import problem_of
from vprlib.images.exif import Facts, read_facts
from vprlib.images.seen import Seen
from vprlib.pipeline.inside import inside
from vprlib.pipeline.inside import problem_of as problem_of_name
from vprlib.pipeline.params import UserError
from vprlib.places.projection import MAX_LATITUDE, project

QUERIES = "queries"  # the folder of photographs that are asked


@dataclass(frozen=True)
class Photographs:
    """What is known of the photographs that can be read, in the order of their names."""

    names: list[str]
    facts: list[Facts]
    places: np.ndarray  # [N, 2] NaN where unknown
    in_degrees: bool  # latitude and longitude, or else metres
    source: str  # where the positions come from
    reasons: list[str]  # why a position is not known

    @property
    def is_located(self) -> np.ndarray:
        return np.isfinite(self.places).all(axis=1)

    @property
    def is_query(self) -> np.ndarray:
        return np.array([PurePosixPath(name).parts[0] == QUERIES for name in self.names], bool)

    def metres(self, rows: np.ndarray) -> np.ndarray:
        places = self.places[rows]
        return project(*places.T) if self.in_degrees else places


def look_at(
    folder: Path, workers: int, seen: Seen[Facts] | None = None
) -> tuple[dict[str, Facts], list[str]]:
    """The facts of each photograph by its name, and why others cannot be read."""
    for entry in folder.glob("*"):
        if entry.is_symlink() and not entry.exists():
            raise UserError(
                f"{entry} links to {entry.readlink()}, which is not there: `vpr use photos FOLDER`"
                " links the folder where it is now."
            )
    names = [str(path.relative_to(folder)) for path in images_below(folder)]
    if not names:
        raise UserError(
            f"{folder} holds no photograph: `vpr use photos FOLDER` links a folder of them."
        )

    def look(row: int) -> Facts | str:
        if problem := problem_of_name(names[row]):
            return problem
        try:
            return read_facts(inside(folder, names[row], folder))
        except (OSError, ValueError) as error:
            return problem_of(error)

    paths = [folder / name for name in names]
    found = (seen or Seen()).look(paths, look, workers, "looking at photographs")
    pairs = list(zip(names, found, strict=True))
    broken = [f"{ascii(n)[1:-1]}: {facts}" for n, facts in pairs if isinstance(facts, str)]
    return {n: facts for n, facts in pairs if isinstance(facts, Facts)}, broken


def locate(folder: Path, found: dict[str, Facts], clock_ahead_h: float | None) -> Photographs:
    """Positions from a CSV beside the photographs, from their names, or from EXIF and tracks."""
    names, facts = list(found), list(found.values())
    make = partial(Photographs, names, facts)
    if tables := [path for path in _beside(folder, ".csv") if tells_positions(path)]:
        places, in_degrees = positions_by_name(tables, folder, names)
        return make(places, in_degrees, "a CSV", ["no row of the CSV is about it"] * len(names))
    at = positions_of(names, folder)
    if np.isfinite(at).any():
        return make(at, False, "names", ["its name has no @easting@northing@"] * len(names))
    given = [f.degrees or (np.nan, np.nan) for f in facts]
    places, source = np.array(given, float).reshape(-1, 2), "EXIF"
    beyond = np.abs(places[:, 0]) > MAX_LATITUDE
    places[beyond] = np.nan
    reasons = [f.odd or "its EXIF has no GPS position" for f in facts]
    for row in np.flatnonzero(beyond):
        reasons[row] = f"its latitude is beyond {MAX_LATITUDE:g} degrees, where UTM ends"
    tracks = _beside(folder, ".gpx")
    lost = np.isnan(places[:, 0])
    if tracks and lost.any():
        points = read_tracks(tracks)
        times = np.array([_utc(f, clock_ahead_h) for f in facts], float)
        on_way = on_track(points, times)
        if lost.all():  # or else those without a position are listed
            _check_overlap(tracks[0], points, times, on_way)
        places[lost] = on_way[lost]
        source = "a GPX track" if lost.all() else "EXIF and a GPX track"
        reasons = [
            r if f.odd else "no track was recorded at its time"
            for r, f in zip(reasons, facts, strict=True)
        ]
    return make(places, True, source, reasons)


def _beside(folder: Path, suffix: str) -> list[Path]:
    """Files of that suffix directly in one of the linked folders."""
    found = (path for path in folder.glob("*/*") if path.suffix.lower() == suffix)
    return sorted(inside(folder, str(path.relative_to(folder)), folder) for path in found)


def _utc(facts: Facts, ahead_h: float | None) -> float:
    if ahead_h is not None and facts.clock is not None:
        return facts.clock - 3600 * ahead_h
    return np.nan if facts.utc is None else facts.utc


def _check_overlap(track: Path, points: np.ndarray, times: np.ndarray, on_way: np.ndarray) -> None:
    if np.isfinite(on_way).any():
        return
    known = times[np.isfinite(times)]
    if not len(known):
        raise UserError(
            f"{track} is a track, but no photograph tells its time in UTC: set clock_ahead_h of"
            " the set in `photos`, such as 2 for central European summer time."
        )
    if not len(points):
        raise UserError(f"{track} has no point with a time: record the track again, or remove it.")
    spans = [np.array(v, "datetime64[s]").astype(str) for v in _ends(points[:, 0], known)]
    raise UserError(
        f"{track} was recorded from {spans[0]} to {spans[1]} UTC, but the photographs were taken"
        f" from {spans[2]} to {spans[3]}: correct clock_ahead_h of the set in `photos`."
    )


def _ends(*values: np.ndarray) -> Iterator[int]:
    for times in values:
        yield from (int(times.min()), int(times.max()))
