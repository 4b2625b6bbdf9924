"""Where to search: around a rough position, or in a box."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vprlib.formats.listing import positions_by_name
from vprlib.images.exif import read_facts
from vprlib.images.index import ImageIndex
from vprlib.pipeline.params import UserError
from vprlib.places.projection import metres_from
from vprlib.search.groups import Group

EXIF = "exif"  # each photograph's own GPS position


@dataclass(frozen=True)
class Around:
    """The database images that each photograph may find."""

    groups: list[Group]
    lost: list[int]  # photographs around which there is none, or whose position is not known


def asked_around(
    near: str | None,
    within_m: float | None,
    inside: str | None,
    folder: Path,
    photos: ImageIndex,
    degrees: np.ndarray | None,
    dataset: str,
) -> Around | None:
    """The images that may be found, where only some are wanted."""
    check_asked(near, within_m, inside)
    if near is None and inside is None:
        return None
    if degrees is None:
        raise UserError(
            f"latitude and longitude of {dataset} are not known: set datasets.{dataset}.utm_zone,"
            " such as 17N."
        )
    if near is None:
        return box(inside or "", len(photos), degrees)
    return circles(near, within_m or 0.0, folder, photos, degrees)


def check_asked(near: str | None, within_m: float | None, inside: str | None) -> None:
    """Refuses options that do not belong together."""
    if near is None and within_m is not None:
        raise UserError("--within needs a place: add --near LAT,LON.")
    if near is not None and inside is not None:
        raise UserError("--near and --box both say where to search: leave one out.")
    if near is not None and (within_m is None or not 0 < within_m < np.inf):
        raise UserError("--near needs a distance in metres above zero: add --within 100.")


def in_circle(centre: np.ndarray, within_m: float, degrees: np.ndarray) -> tuple[np.ndarray, float]:
    """Rows within so many metres of latitude and longitude, and how far away the nearest is."""
    metres = metres_from(centre[::-1], degrees)
    return np.flatnonzero(metres <= within_m), float(np.nanmin(metres, initial=np.inf))


def and_nearest(metres: float) -> str:
    """How far away the nearest image is, to follow that none is near enough."""
    return f"; the nearest is {metres:,.0f} m away" if np.isfinite(metres) else ""


def circles(
    near: str, within_m: float, folder: Path, photos: ImageIndex, degrees: np.ndarray
) -> Around:
    """`near` is LAT,LON for all photographs, or says where the position of each is."""
    places = centres(near, folder, photos.names)
    groups, lost, nearest = [], [], np.inf
    different, which = np.unique(places, axis=0, return_inverse=True, equal_nan=False)
    for number, centre in enumerate(different):
        among, away = in_circle(centre, within_m, degrees)
        queries = np.flatnonzero(which.reshape(-1) == number)
        groups.append(Group(queries, among))
        if not len(among):
            lost += queries.tolist()
            nearest = min(nearest, away)
    if len(lost) == len(photos):
        where = f"around {near}" if number_pair(near) else "around any of the photographs"
        raise UserError(
            f"no image of the database lies within {within_m:g} m {where}{and_nearest(nearest)}:"
            " raise --within, or check the order (latitude first)."
        )
    return Around(groups, sorted(lost))


def box(text: str, count: int, degrees: np.ndarray) -> Around:
    """SOUTH,WEST,NORTH,EAST."""
    south, west, north, east = corners(text)
    among = np.flatnonzero(in_corners(degrees, south, west, north, east))
    if not len(among):
        raise UserError(f"no image of the database lies in the box {text}: is the order right?")
    return Around([Group(np.arange(count), among)], [])


def in_corners(
    degrees: np.ndarray, south: float, west: float, north: float, east: float
) -> np.ndarray:
    """Which longitudes and latitudes lie in a box, which may cross the date line [n]."""
    lon, lat = degrees.T
    after, before = lon >= west, lon <= east
    is_between = after & before if west <= east else after | before
    return (lat >= south) & (lat <= north) & is_between


def corners(text: str) -> tuple[float, float, float, float]:
    """South, west, north and east."""
    try:
        south, west, north, east = (float(part) for part in text.split(","))
    except ValueError:
        raise UserError(f"--box is '{text}', but should be SOUTH,WEST,NORTH,EAST.") from None
    _check_degrees("--box", (south, west), (north, east))
    return south, west, north, east


def number_pair(text: str) -> tuple[float, float] | None:
    try:
        lat, lon = (float(part) for part in text.split(","))
    except ValueError:
        return None
    return lat, lon


def centres(near: str, folder: Path, names: Sequence[str]) -> np.ndarray:
    """Latitude and longitude [Q, 2]; NaN where not known."""
    if (pair := number_pair(near)) is not None:
        _check_degrees("--near", pair)
        return np.tile(np.array(pair), (len(names), 1))
    if near == EXIF:
        found = [read_facts(folder / name).degrees or (np.nan, np.nan) for name in names]
        return np.array(found, float).reshape(-1, 2)
    path = Path(near)
    if not path.is_file():
        raise UserError(
            f"--near is '{near}', but should be LAT,LON such as 52.50301,13.33001, or '{EXIF}', or"
            " a CSV of path, lat, lon."
        )
    places, in_degrees = positions_by_name([path], path.parent, names)
    if not in_degrees:
        raise UserError(f"{path} should have the columns path, lat, lon.")
    return places


def _check_degrees(option: str, *pairs: tuple[float, float]) -> None:
    for lat, lon in pairs:
        if not (abs(lat) <= 90 and abs(lon) <= 180):
            raise UserError(
                f"{option} has {lat:g},{lon:g}, but latitude goes from -90 to 90 and comes first,"
                " longitude from -180 to 180."
            )
