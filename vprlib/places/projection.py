"""Projects latitude and longitude to metres, with one UTM zone for images near each other."""

from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from vprlib.images.index import ImageIndex
from vprlib.pipeline.params import UserError

if TYPE_CHECKING:
    from pyproj import Proj

Zone = Annotated[str, Field(pattern=r"^([1-9]|[1-5]\d|60)[NS]$")] | None
_LAST_ZONE = 60
ZONE_M = 1_000_000.0  # larger than any easting, so that zones do not overlap
MAX_LATITUDE = 84.0  # where UTM ends
_GAP_DEG = 0.1  # wider gaps separate groups: over 1 km even at 84 degrees
_TOLERANCE = 1e-3  # relative, of any distance inside a group
_SOUTH_M = 10_000_000.0  # what UTM adds to the northings of the southern hemisphere


def project(latitudes: np.ndarray, longitudes: np.ndarray) -> np.ndarray:
    """Metres [N, 2]; distances of up to some kilometres are right to 0.1 %.

    Images are grouped where longitudes have no gap of 0.1 degrees; the date line is no gap. A group
    uses the UTM zone of its median, even for images beyond the zone's border. Eastings are
    zone · 1,000,000 m + UTM's, as in EPSG:4647. Northings are negative south of the equator,
    without UTM's 10,000,000 m. A group that its zone would stretch by over 0.1 % gets a meridian at
    its own median, numbered from 61 on.
    """
    positions = np.empty((len(latitudes), 2))
    groups, unwrapped = _groups(longitudes)
    for group in range(groups.max(initial=-1) + 1):
        rows = groups == group
        positions[rows] = _on_plane(latitudes[rows], unwrapped[rows], 61 + group)
    return positions


def on_one_plane(
    eastings: np.ndarray, northings: np.ndarray, zones: np.ndarray, is_south: np.ndarray
) -> np.ndarray:
    """UTM positions as metres [N, 2] by the same rules; zones may differ."""
    northings = northings - _SOUTH_M * is_south
    if len(np.unique(zones)) == 1:
        return np.stack([eastings + ZONE_M * zones, northings], axis=1)
    degrees = np.empty((len(zones), 2))
    for zone in np.unique(zones):
        rows = zones == zone
        plane = _plane(_meridian(zone))
        degrees[rows] = np.stack(plane(eastings[rows], northings[rows], inverse=True), axis=1)
    return project(degrees[:, 1], degrees[:, 0])


def degrees_of(index: ImageIndex, zone: Zone) -> np.ndarray | None:
    """Longitudes and latitudes [N, 2] of the images, as they were given or from metres."""
    return index.extra["degrees"] if "degrees" in index.extra else to_degrees(index.positions, zone)


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


def metres_from(centre: np.ndarray, degrees: np.ndarray) -> np.ndarray:
    """Metres [N] on the ellipsoid to longitudes and latitudes [N, 2]; NaN where unknown."""
    if np.isnan(centre).any():
        return np.full(len(degrees), np.nan)
    from pyproj import Geod  # takes a moment

    lon, lat = (np.full(len(degrees), value) for value in centre)
    return np.asarray(Geod(ellps="WGS84").inv(lon, lat, *degrees.T)[2])


def _degrees(positions: np.ndarray, zone: int, is_south: bool) -> np.ndarray:
    from pyproj import Proj  # takes a moment, and few sets need it

    plane = Proj(proj="utm", zone=zone, south=is_south, ellps="WGS84")
    return np.stack(plane(positions[:, 0], positions[:, 1], inverse=True), axis=1)


def _groups(longitudes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A label for each image, and longitudes that do not jump inside a group."""
    if not len(longitudes):
        return np.zeros(0, np.int64), longitudes
    around = longitudes % 360.0
    order = np.argsort(around, kind="stable")
    gaps = np.diff(around[order], append=around[order[0]] + 360.0)
    order = np.roll(order, -(int(np.argmax(gaps)) + 1))  # cut the circle where it is widest
    rising = around[order] + 360.0 * (around[order] < around[order[0]])
    labels, unwrapped = np.empty(len(order), np.int64), np.empty(len(order))
    labels[order] = np.concatenate([[0], np.cumsum(np.diff(rising) > _GAP_DEG)])
    unwrapped[order] = rising
    return labels, unwrapped


def _on_plane(latitudes: np.ndarray, longitudes: np.ndarray, own_number: int) -> np.ndarray:
    median = float(np.median(longitudes))
    zone = int((median + 180.0) % 360.0 // 6.0) + 1
    for number, meridian in ((zone, _meridian(zone)), (own_number, median)):
        if _stretch(latitudes, longitudes - meridian) <= _TOLERANCE:
            eastings, northings = _plane(meridian)(longitudes, latitudes)
            return np.stack([eastings + ZONE_M * number, northings], axis=1)
    raise UserError(
        f"{len(longitudes)} images cover the longitudes from {_shown(longitudes.min())} to"
        f" {_shown(longitudes.max())} without a gap, too wide for one map projection: split them"
        " into several sets, or give eastings and northings in metres."
    )


def _stretch(latitudes: np.ndarray, offsets: np.ndarray) -> float:
    """The largest relative error of a short distance at offsets in degrees from the meridian."""
    offsets = np.abs((offsets + 180.0) % 360.0 - 180.0)
    if offsets.max() > 45.0:
        return np.inf  # where the series of the projection ends
    return float(np.abs(_plane(0.0).get_factors(offsets, latitudes).meridional_scale - 1.0).max())


def _meridian(zone: int) -> float:
    return 6.0 * zone - 183.0


def _plane(meridian: float) -> "Proj":
    from pyproj import Proj  # takes a moment, and most sets do not need it

    return Proj(proj="tmerc", lon_0=meridian, k=0.9996, x_0=500_000.0, ellps="WGS84")


def _shown(longitude: float) -> str:
    return f"{(longitude + 180.0) % 360.0 - 180.0:.2f}"
