"""Failures on a map: GeoJSON in degrees, where the zone of the metres is known."""

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from pydantic import Field

from vprlib.places.projection import ZONE_M

# '17N', '56S': plain UTM metres, as in Pittsburgh; null: unknown, or part of the eastings
Zone = Annotated[str, Field(pattern=r"^([1-9]|[1-5]\d|60)[NS]$")] | None
_LAST_ZONE = 60
_DIGITS = 7  # a centimetre


def to_degrees(positions: np.ndarray, zone: Zone) -> np.ndarray | None:
    """Longitudes and latitudes [N, 2] of UTM positions; None if the zone is unknown.

    Without `zone`, all eastings must begin with one (zone · 1,000,000 m, as in `projection`).
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
    from pyproj import Proj  # takes a moment, and few sets need it

    plane = Proj(proj="utm", zone=zone, south=is_south, ellps="WGS84")
    return np.stack(plane(positions[:, 0], positions[:, 1], inverse=True), axis=1)


def geojson(
    names: Sequence[str],
    properties: Sequence[dict[str, object]],
    at: np.ndarray | None,
    answers: np.ndarray | None,
    is_wrong: np.ndarray,
) -> dict[str, object]:
    """A point for each query, and a line from each wrong one to its answer.

    GeoJSON must be in degrees (RFC 7946). If these are unknown, `at` and `answers` are None and a
    query is a feature without geometry, which is valid, unlike metres.
    """
    features = []
    for query, (name, others) in enumerate(zip(names, properties, strict=True)):
        labels = {"query": name, **others}
        point = None if at is None else _place(at[query])
        geometry = None if point is None else {"type": "Point", "coordinates": point}
        features.append({"type": "Feature", "geometry": geometry, "properties": labels})
        end = None if answers is None else _place(answers[query])
        if is_wrong[query] and point and end:
            line: dict[str, object] = {"type": "LineString", "coordinates": [point, end]}
            features.append({"type": "Feature", "geometry": line, "properties": labels})
    return {"type": "FeatureCollection", "features": features}


def _place(degrees: np.ndarray) -> list[float] | None:
    return None if np.isnan(degrees).any() else [round(float(v), _DIGITS) for v in degrees]
