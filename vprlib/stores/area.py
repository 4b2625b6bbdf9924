"""Where a map is searched: what the engine filters by, and the exact check of what it gives."""

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

import numpy as np

# The engine's Earth is a ball: its distances differ by up to 0.6 % from those on the ellipsoid.
WIDER, MORE_M = 1.01, 1.0
MORE_DEG = 1e-6
MORE_BOX_M = 1e-3


@dataclass(frozen=True)
class Ball:
    """A circle by latitude and longitude."""

    lat: float
    lon: float
    metres: float


@dataclass(frozen=True)
class Box:
    """From a lower to an upper corner: longitude and latitude, or metres east and north."""

    low: tuple[float, float]
    high: tuple[float, float]  # of longitudes, less than `low` where it crosses the date line
    is_metric: bool = False


@dataclass(frozen=True)
class Area:
    """The shape is filtered by, a little wider; `is_inside` then decides."""

    shape: Ball | Box
    # longitudes and latitudes, or metres, [n, 2] to bool [n]
    is_inside: Callable[[np.ndarray], np.ndarray]
    title: str  # such as 'within 100 m of 40.1,15.2'

    @property
    def in_degrees(self) -> bool:
        return isinstance(self.shape, Ball) or not self.shape.is_metric


def conditions(area: Area, engine: ModuleType) -> object:
    """The filter, of the types that `qdrant_edge` and `qdrant_client.models` name alike."""
    shape = area.shape
    if isinstance(shape, Ball):
        centre = engine.GeoPoint(lon=shape.lon, lat=shape.lat)
        ball = engine.GeoRadius(center=centre, radius=shape.metres * WIDER + MORE_M)
        return engine.Filter(must=[engine.FieldCondition(key="place", geo_radius=ball)])
    if shape.is_metric:
        span = getattr(engine, "RangeFloat", None) or engine.Range
        sides = zip(("x", "y"), shape.low, shape.high, strict=True)
        ranges = [
            (name, span(gte=low - MORE_BOX_M, lte=high + MORE_BOX_M)) for name, low, high in sides
        ]
        return engine.Filter(must=[engine.FieldCondition(key=k, range=r) for k, r in ranges])
    (west, south), (east, north) = shape.low, shape.high
    parts = [(west, east)] if west <= east else [(west, 180.0), (-180.0, east)]
    return engine.Filter(should=[_box(engine, w, south, e, north) for w, e in parts])


def _box(engine: ModuleType, west: float, south: float, east: float, north: float) -> object:
    corners = engine.GeoBoundingBox(
        top_left=engine.GeoPoint(lon=max(-180.0, west - MORE_DEG), lat=min(90.0, north + MORE_DEG)),
        bottom_right=engine.GeoPoint(
            lon=min(180.0, east + MORE_DEG), lat=max(-90.0, south - MORE_DEG)
        ),
    )
    return engine.FieldCondition(key="place", geo_bounding_box=corners)
