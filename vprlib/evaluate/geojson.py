"""Failures on a map: GeoJSON in degrees, where the zone of the metres is known."""

from collections.abc import Iterator, Sequence
from typing import Annotated

import numpy as np
from pydantic import Field

from vprlib.places.projection import ZONE_M

# '17N', '56S': plain UTM metres, as Pittsburgh's; null: not known, or in the eastings themselves
Zone = Annotated[str, Field(pattern=r"^([1-9]|[1-5]\d|60)[NS]$")] | None
_LAST_ZONE = 60
_DIGITS = 7  # a centimetre


def to_degrees(positions: np.ndarray, zone: Zone) -> np.ndarray | None:
    """Longitudes and latitudes [N, 2] of metres on UTM's plane; None where no zone is known.

    Without a zone, eastings that begin with one (zone · 1,000,000 m, as `projection` writes
    them) tell it, provided that all do.
    """
    known = np.isfinite(positions).all(axis=1)
    degrees = np.full(positions.shape, np.nan)
    if zone is not None:
        degrees[known] = _degrees(positions[known], int(zone[:-1]), zone.endswith("S"))
        return degrees
    zones = np.floor(positions[:, 0] / ZONE_M)
    if not known.any() or ((zones[known] < 1) | (zones[known] > _LAST_ZONE)).any():
        return None
    for number in np.unique(zones[known]):
        rows = known & (zones == number)
        offset = np.array([number * ZONE_M, 0.0])
        degrees[rows] = _degrees(positions[rows] - offset, int(number), is_south=False)
    return degrees


def _degrees(positions: np.ndarray, zone: int, is_south: bool) -> np.ndarray:
    from pyproj import Proj  # takes a moment, and few sets have a zone

    plane = Proj(proj="utm", zone=zone, south=is_south, ellps="WGS84")
    return np.stack(plane(positions[:, 0], positions[:, 1], inverse=True), axis=1)


def geojson(
    names: Sequence[str],
    properties: Sequence[dict[str, object]],
    at: np.ndarray | None,
    answers: np.ndarray | None,
    is_wrong: np.ndarray,
) -> dict[str, object]:
    """A point a query and a line from each wrong one to its answer.

    GeoJSON is degrees by its definition (RFC 7946). Where these are not known, `at` and `answers`
    are None and a query is a feature without a place, which is valid too; metres would not be.
    """
    return {
        "type": "FeatureCollection",
        "features": list(_features(names, properties, at, answers, is_wrong)),
    }


def _features(
    names: Sequence[str],
    properties: Sequence[dict[str, object]],
    at: np.ndarray | None,
    answers: np.ndarray | None,
    is_wrong: np.ndarray,
) -> Iterator[dict[str, object]]:
    for query, (name, told) in enumerate(zip(names, properties, strict=True)):
        point = None if at is None else _place(at[query])
        geometry = None if point is None else {"type": "Point", "coordinates": point}
        yield _feature(geometry, {"query": name, **told})
        end = None if answers is None else _place(answers[query])
        if is_wrong[query] and point and end:
            line = {"type": "LineString", "coordinates": [point, end]}
            yield _feature(line, {"query": name, **told})


def _feature(geometry: dict[str, object] | None, told: dict[str, object]) -> dict[str, object]:
    return {"type": "Feature", "geometry": geometry, "properties": told}


def _place(degrees: np.ndarray) -> list[float] | None:
    return None if np.isnan(degrees).any() else [round(float(v), _DIGITS) for v in degrees]
