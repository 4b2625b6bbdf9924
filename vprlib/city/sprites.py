"""Trees, lamps and passers-by: upright pictures that face the camera."""

from dataclasses import dataclass

import numpy as np

from vprlib.city import scenery
from vprlib.city.camera import FINER, LAYERS, Sight, View, project
from vprlib.city.light import Light
from vprlib.city.town import Block

SIGHT_SMALL_M = 60.0  # cars, trees and lamps farther away are left out
NEAREST_M = 1.0  # a tree or a lamp nearer than this is stepped around


@dataclass(frozen=True)
class Sprite:
    """An upright picture that faces the camera, at `point` (x, y) on the ground."""

    point: tuple[float, float]
    width_m: float
    height_m: float
    pixels: np.ndarray  # RGBA


def standing(view: View, here: Block) -> list[Sprite]:
    """Trees and lamps in sight, farthest first."""
    tree_pictures, lamp_picture = scenery.trees(), scenery.lamp()
    found = [
        (x, y, 0.75 * height, height, tree_pictures[int(kind)])
        for x, y, height, kind in here.trees[_near(view, here.trees)]
    ]
    found += [(x, y, 0.9, 4.8, lamp_picture) for x, y in here.lamps[_near(view, here.lamps)]]
    ahead, _ = view.axes
    depths = [(x - view.x) * ahead[0] + (y - view.y) * ahead[1] for x, y, *_ in found]
    order = np.argsort(depths, kind="stable")[::-1]
    return [Sprite((found[k][0], found[k][1]), *found[k][2:]) for k in order]


def _near(view: View, things: np.ndarray) -> np.ndarray:
    """Indices of the things ahead of the camera that are neither too near nor too far."""
    ahead, right = view.axes
    level = things[:, :2] - (view.x, view.y)
    depth, side = level @ ahead, np.abs(level @ right)
    edge = np.tan(np.radians(view.fov_deg / 2 + 5)) * depth + 3
    return np.flatnonzero((depth > NEAREST_M) & (depth < SIGHT_SMALL_M) & (side < edge))


def paint_sprite(image: np.ndarray, view: View, now: Light, sight: Sight, sprite: Sprite) -> None:
    """Paints the parts of the sprite that no wall hides, in place."""
    ahead, right = view.axes
    offset = np.array(sprite.point) - (view.x, view.y)
    depth, side = float(offset @ ahead), float(offset @ right)
    window = _window_of(view, sprite, right)
    slope, column = sight.rays.slope[window], sight.rays.column[window]
    rows, columns = sprite.pixels.shape[:2]
    u = ((sight.rays.side[column] * depth - side) / sprite.width_m + 0.5) * columns
    v = (1 - (view.height_m + slope * depth) / sprite.height_m) * rows
    is_inside = (u >= 0) & (u < columns) & (v >= 0) & (v < rows)
    texel = sprite.pixels[
        np.clip(v, 0, rows - 1).astype(np.int32), np.clip(u, 0, columns - 1).astype(np.int32)
    ]
    layer = sight.layer[window]
    wall = sight.hits.depth.ravel()[sight.index[window]]
    is_free = (layer == 0) | (layer == LAYERS + 1) | (wall > depth)
    shown = is_inside & is_free & (texel[..., 3] > 0)
    image[window][shown] = texel[shown][:, :3] * now.on_ground


def _window_of(view: View, sprite: Sprite, right: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns of the fine picture that hold the sprite."""
    half = right * sprite.width_m / 2
    x, y = sprite.point
    corners = [
        (x + sign * half[0], y + sign * half[1], height)
        for sign in (-1, 1)
        for height in (0.0, sprite.height_m)
    ]
    column, row, depth = project(view, np.array(corners))
    if depth.min() < 0.2:  # a corner behind the lens has no place in the picture
        return slice(None), slice(None)
    low = np.floor(np.array([row.min(), column.min()]) * FINER)
    high = np.ceil(np.array([row.max(), column.max()]) * FINER) + 1
    size = np.array([view.height, view.width]) * FINER
    low, high = np.clip(low, 0, size).astype(int), np.clip(high, 0, size).astype(int)
    return slice(low[0], high[0]), slice(low[1], high[1])
