"""Where to search in a map: its engine filters, and the exact check follows."""

from pathlib import Path

import numpy as np

from vprlib.cli.finding.around import centres, check_asked, corners, in_corners, number_pair
from vprlib.images.index import ImageIndex
from vprlib.pipeline.params import UserError
from vprlib.places.projection import metres_from
from vprlib.stores.area import Area, Ball, Box


def asked_areas(
    near: str | None,
    within_m: float | None,
    inside: str | None,
    folder: Path,
    photos: ImageIndex,
    is_geographic: bool,
) -> tuple[list[Area | None], np.ndarray]:
    """The area of each photograph, None for everywhere; and those with a position, or all."""
    check_asked(near, within_m, inside)
    every = np.arange(len(photos))
    if near is None and inside is None:
        return [None] * len(photos), every
    if not is_geographic:
        return [_in_metres(near, within_m)] * len(photos), every
    if near is None:
        return [in_box(*corners(inside or ""), f"in the box {inside}")] * len(photos), every
    places = centres(near, folder, photos.names)
    known: dict[tuple[float, float], Area] = {}
    areas: list[Area | None] = []
    for lat, lon in places.tolist():
        areas.append(known.setdefault((lat, lon), in_circle(lat, lon, within_m or 0.0)))
    return areas, np.flatnonzero(np.isfinite(places).all(axis=1))


def in_circle(lat: float, lon: float, within_m: float) -> Area:
    def is_inside(degrees: np.ndarray) -> np.ndarray:
        return metres_from(np.array([lon, lat]), degrees) <= within_m

    return Area(Ball(lat, lon, within_m), is_inside, f"within {within_m:g} m of {lat:g},{lon:g}")


def in_box(south: float, west: float, north: float, east: float, title: str) -> Area:
    def is_inside(degrees: np.ndarray) -> np.ndarray:
        return in_corners(degrees, south, west, north, east)

    return Area(Box((west, south), (east, north)), is_inside, title)


def _in_metres(near: str | None, within_m: float | None) -> Area:
    """A map without degrees takes the metres of its set."""
    pair = None if near is None else number_pair(near)
    if pair is None or within_m is None:
        raise UserError(
            "latitude and longitude of the map are not known: use --near EASTING,NORTHING in the"
            " metres of its set."
        )
    centre = np.array(pair)

    def is_inside(metres: np.ndarray) -> np.ndarray:
        return np.linalg.norm(metres - centre, axis=1) <= within_m

    low, high = (centre - within_m).tolist(), (centre + within_m).tolist()
    shape = Box((low[0], low[1]), (high[0], high[1]), is_metric=True)
    return Area(shape, is_inside, f"within {within_m:g} m of {near}")
