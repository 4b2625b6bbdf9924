"""Reads GPX tracks, and where a photograph with a time was on them."""

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from vprlib.pipeline.params import UserError

LARGEST = 2**28  # bytes: a year of points, one a second, is less
_PAUSE_S = 120.0  # between points farther apart than this, the way is not known


def read_tracks(paths: Sequence[Path]) -> np.ndarray:
    """All points [P, 3] in the order of time: seconds since 1970 in UTC, latitude, longitude."""
    points = np.array([point for path in paths for point in _points(path)]).reshape(-1, 3)
    return points[np.argsort(points[:, 0], kind="stable")]


def on_track(points: np.ndarray, utc: np.ndarray) -> np.ndarray:
    """Latitude and longitude [N, 2] at these times, in a straight line between two points.

    NaN before the first point, after the last one, and in a pause.
    """
    found = np.full((len(utc), 2), np.nan)
    after = np.searchsorted(points[:, 0], utc)
    is_on = (after < len(points)) & np.isfinite(utc)
    is_on[is_on] = (after[is_on] > 0) | (points[after[is_on], 0] == utc[is_on])
    a, b = points[np.maximum(after[is_on] - 1, 0)], points[after[is_on]]
    span = np.maximum(b[:, 0] - a[:, 0], 1e-9)
    part = np.clip((utc[is_on] - a[:, 0]) / span, 0, 1)[:, None]
    turn = b[:, 1:] - a[:, 1:]
    turn[:, 1] = (turn[:, 1] + 180) % 360 - 180  # over the date line
    place = a[:, 1:] + part * turn
    place[:, 1] = (place[:, 1] + 180) % 360 - 180
    is_exact = (utc[is_on] == b[:, 0]) | (utc[is_on] == a[:, 0])
    found[is_on] = np.where(((span <= _PAUSE_S) | is_exact)[:, None], place, np.nan)
    return found


def _points(path: Path) -> list[tuple[float, float, float]]:
    """Of all tracks of a file; points without a time are left out."""
    content = path.read_bytes() if path.stat().st_size <= LARGEST else b""
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content or not content:
        raise UserError(f"{path} is no GPX track that can be read: save it again without a DTD.")
    try:
        root = ET.fromstring(content)
    except ET.ParseError as error:
        raise UserError(
            f"{path} is no GPX track ({error}): save it again, or take it away."
        ) from None
    found = []
    for point in root.iter():
        time = next((part.text for part in point if part.tag.endswith("}time")), None)
        if not point.tag.endswith("}trkpt") or not time:
            continue
        try:
            utc = datetime.fromisoformat(time.strip())
            lat, lon = float(point.get("lat", "")), float(point.get("lon", ""))
            is_real = abs(lat) <= 90 and abs(lon) <= 180
        except ValueError:
            is_real = False
        if not is_real:
            raise UserError(f"{path}: the point of {time.strip()[:40]} has no time or no position.")
        utc = utc if utc.tzinfo else utc.replace(tzinfo=UTC)
        found.append((utc.timestamp(), lat, lon))
    return found
