"""Sees the town through a pinhole: which surface is behind each pixel, and how far away."""

from dataclasses import dataclass

import numpy as np

FINER = 2  # rays a pixel and direction, averaged at the end
LAYERS = 3  # how many buildings, each rising above the one before, a column can show
FAR = 1.0e6  # depth of a column that meets nothing


@dataclass(frozen=True)
class View:
    """Where a camera stands (metres of the town) and how it looks; tilt is upwards."""

    x: float
    y: float
    height_m: float
    heading_deg: float
    fov_deg: float
    tilt_deg: float
    roll_deg: float
    width: int
    height: int

    @property
    def focal(self) -> float:
        """Focal length in pixels."""
        return self.width / 2 / np.tan(np.radians(self.fov_deg) / 2)

    @property
    def axes(self) -> tuple[np.ndarray, np.ndarray]:
        """Level unit vectors (east, north) straight ahead and to the right."""
        angle = np.radians(self.heading_deg)
        ahead = np.array([np.sin(angle), np.cos(angle)])
        return ahead, np.array([ahead[1], -ahead[0]])


@dataclass(frozen=True)
class Rays:
    """Each ray by where it meets the level view one metre ahead, [H, W] at FINER resolution."""

    slope: np.ndarray  # metres upwards
    column: np.ndarray  # index into `side`
    side: np.ndarray  # [C] metres to the right


@dataclass(frozen=True)
class Hits:
    """Walls met by the C upright planes through the camera, in LAYERS from near to far, [L, C]."""

    box: np.ndarray  # index of the box
    depth: np.ndarray  # metres straight ahead
    along: np.ndarray  # 0-1 along the wall
    length: np.ndarray  # metres of wall
    outward: np.ndarray  # [2, L, C] level unit vector out of the wall: east, north
    limit: np.ndarray  # [L + 1, C] slopes: foot of the nearest wall, then the top of each layer


@dataclass(frozen=True)
class Sight:
    """What is behind each ray."""

    rays: Rays
    hits: Hits
    layer: np.ndarray  # [H, W] 0 ground, 1 … LAYERS walls, LAYERS + 1 sky
    index: np.ndarray  # [H, W] into the flat hits [LAYERS * C]


def see(view: View, seen: Rays, boxes: np.ndarray) -> Sight:
    """Which of the boxes, or ground, or sky, each ray meets first."""
    hits = cast(view, boxes, seen.side)
    layer = np.zeros(seen.slope.shape, np.int32)
    for limit in hits.limit:
        layer += seen.slope > limit.take(seen.column)
    index = (np.clip(layer, 1, LAYERS) - 1) * np.int32(len(seen.side)) + seen.column
    return Sight(seen, hits, layer, index)


def rays(view: View) -> Rays:
    """Turns every pixel's ray by roll and tilt into slope and side of the level view."""
    columns = (np.arange(view.width * FINER) + 0.5) / FINER
    rows = (np.arange(view.height * FINER) + 0.5) / FINER
    x = ((columns - view.width / 2) / view.focal).astype(np.float32)[None]
    y = ((view.height / 2 - rows) / view.focal).astype(np.float32)[:, None]
    roll, tilt = np.radians([view.roll_deg, view.tilt_deg])
    right = x * np.float32(np.cos(roll)) + y * np.float32(np.sin(roll))
    up = y * np.float32(np.cos(roll)) - x * np.float32(np.sin(roll))
    ahead = np.float32(np.cos(tilt)) - up * np.float32(np.sin(tilt))
    slope = (up * np.float32(np.cos(tilt)) + np.float32(np.sin(tilt))) / ahead
    side = right / ahead
    step = 1 / (view.focal * FINER)
    low = float(side.min())
    count = int((float(side.max()) - low) / step) + 2
    column = ((side - np.float32(low)) * np.float32(1 / step) + np.float32(0.5)).astype(np.int32)
    return Rays(slope, column, low + step * np.arange(count))


def in_sight(view: View, boxes: np.ndarray, side: np.ndarray, reach_m: float) -> np.ndarray:
    """Indices of the boxes that may be seen within `reach_m`."""
    ahead, right = view.axes
    middle = (boxes[:, :2] + boxes[:, 2:4]) / 2 - (view.x, view.y)
    radius = np.hypot(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]) / 2
    depth, lateral = middle @ ahead, middle @ right
    reach = np.maximum(depth + radius, 0)
    is_inside = (lateral + radius > side[0] * reach) & (lateral - radius < side[-1] * reach)
    return np.flatnonzero(is_inside & (depth > -radius) & (depth - radius < reach_m))


def cast(view: View, boxes: np.ndarray, side: np.ndarray) -> Hits:
    """Meets boxes (west, south, east, north, height) with the upright plane of each column."""
    ahead, right = view.axes
    direction = (ahead[:, None] + right[:, None] * side).astype(np.float32)  # [2, C]
    direction[np.abs(direction) < 1e-7] = 1e-7
    low = (boxes[:, :2] - (view.x, view.y)).astype(np.float32).T[:, :, None]  # [2, N, 1]
    high = (boxes[:, 2:4] - (view.x, view.y)).astype(np.float32).T[:, :, None]
    inverse = (1 / direction)[:, None]
    first, second = low * inverse, high * inverse  # [2, N, C]
    near, leave = np.minimum(first, second), np.maximum(first, second).min(0)
    enter = near.max(0)
    depth = np.where((enter < leave) & (enter > 0), enter, np.float32(FAR))
    top = (boxes[:, 4:] - view.height_m).astype(np.float32) / depth
    box, depth, limit = _peel(view, depth, top)
    columns = np.arange(box.shape[1])[None]
    is_side = near[0, box, columns] > near[1, box, columns]
    axis = is_side.astype(np.int64)  # a wall that faces east or west runs along axis 1
    start, stop = low[axis, box, 0], high[axis, box, 0]
    along = (depth * direction[axis, columns] - start) / (stop - start)
    outward = -np.sign(direction)[:, None] * np.stack([is_side, ~is_side])
    return Hits(box, depth, np.clip(along, 0, 0.9999), stop - start, outward, limit)


def _peel(
    view: View, depth: np.ndarray, top: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The nearest box of each column, then the nearest that rises above it, and so on."""
    columns = np.arange(depth.shape[1])
    chosen, depths, limits = [], [], [-view.height_m / depth.min(0)]
    for _ in range(LAYERS):
        nearest = depth.argmin(0)
        chosen.append(nearest)
        depths.append(depth[nearest, columns])
        rise = np.maximum(top[nearest, columns], limits[-1])
        limits.append(np.where(depths[-1] < FAR, rise, limits[-1]))
        depth = np.where(top > limits[-1], depth, np.float32(FAR))
    return np.stack(chosen), np.stack(depths), np.stack(limits).astype(np.float32)


def project(view: View, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Column, row and depth of points (x, y, height), [N, 3]: the inverse of `rays`."""
    ahead, right = view.axes
    level = points[:, :2] - (view.x, view.y)
    forward, side, up = level @ ahead, level @ right, points[:, 2] - view.height_m
    roll, tilt = np.radians([view.roll_deg, view.tilt_deg])
    depth = forward * np.cos(tilt) + up * np.sin(tilt)
    up = up * np.cos(tilt) - forward * np.sin(tilt)
    x, y = side * np.cos(roll) - up * np.sin(roll), side * np.sin(roll) + up * np.cos(roll)
    column = view.width / 2 + view.focal * x / depth
    return column, view.height / 2 - view.focal * y / depth, depth
