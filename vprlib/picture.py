"""Colours what the camera sees: walls, ground, sky, then trees, lamps and passers-by."""

from dataclasses import dataclass

import numpy as np

from vprlib import scenery
from vprlib.atlas import shared_atlas
from vprlib.camera import (
    FAR,
    FINER,
    LAYERS,
    Hits,
    Rays,
    View,
    cast,
    in_sight,
    layer_of,
    project,
    rays,
)
from vprlib.facade import LEVELS, TEXELS
from vprlib.light import SKY_COLUMNS, Light, lit_windows, sky, sky_row
from vprlib.town import PITCH, Block, Key, Town, around

SIGHT_M = 170.0
SIGHT_SMALL_M = 60.0  # cars, trees and lamps farther away are left out
NEAREST_M = 1.0  # a tree or a lamp nearer than this is stepped around
WINDOW_LIGHT = np.array([255, 205, 130], np.float32)


@dataclass(frozen=True)
class Sprite:
    """An upright picture that faces the camera, at `point` (x, y) on the ground."""

    point: tuple[float, float]
    width_m: float
    height_m: float
    pixels: np.ndarray  # RGBA


@dataclass(frozen=True)
class Sight:
    """What is behind each ray."""

    rays: Rays
    hits: Hits
    layer: np.ndarray  # [H, W] 0 ground, 1 … LAYERS walls, LAYERS + 1 sky
    index: np.ndarray  # [H, W] into the flat hits [LAYERS * C]


def picture(
    town: Town,
    view: View,
    now: Light,
    moment: tuple[np.random.Generator, np.random.Generator],
    passers: list[Sprite],
) -> np.ndarray:
    """The scene as light, [H, W, 3] float32 at FINER resolution, 0-255.

    The two generators of `moment` choose the parked cars and the sky with the lit windows.
    """
    parked, weather = moment
    here = around(town, round(view.x / PITCH), round(view.y / PITCH))
    seen = rays(view)
    boxes, keys = _boxes(view, here, seen.side, parked)
    sight = _sight(view, seen, boxes)
    image = np.empty((*sight.layer.shape, 3), np.float32)
    flat = image.reshape(-1, 3)
    _paint_sky(flat, view, sky(now, weather), sight)
    _paint_ground(flat, view, now, sight)
    _paint_walls(flat, view, now, sight, boxes, keys, lit_windows(now, weather))
    for sprite in _sprites(view, here) + passers:
        _paint_sprite(image, view, now, sight, sprite)
    return image


def _boxes(
    view: View, here: Block, side: np.ndarray, parked: np.random.Generator
) -> tuple[np.ndarray, list[Key]]:
    """Houses and parked cars in sight, with their keys."""
    houses = in_sight(view, here.boxes, side, SIGHT_M)
    is_taken = parked.random(len(here.parking)) < 0.4
    colours = parked.integers(scenery.CAR_COLOURS, size=len(here.parking))
    cars = in_sight(view, here.parking, side, SIGHT_SMALL_M)
    cars = cars[is_taken[cars]]
    keys = [here.keys[k] for k in houses] + [(int(colours[k]),) for k in cars]
    return np.concatenate([here.boxes[houses], here.parking[cars]]), keys


def _sight(view: View, seen: Rays, boxes: np.ndarray) -> Sight:
    hits = cast(view, boxes, seen.side)
    layer = layer_of(seen, hits)
    index = (np.clip(layer, 1, LAYERS) - 1) * np.int32(len(seen.side)) + seen.column
    return Sight(seen, hits, layer, index)


def _paint_sky(flat: np.ndarray, view: View, heaven: np.ndarray, sight: Sight) -> None:
    where = np.flatnonzero(sight.layer == LAYERS + 1)
    turn = np.degrees(np.arctan(sight.rays.side)) + view.heading_deg
    column = (turn / 360 * SKY_COLUMNS).astype(np.int32) % SKY_COLUMNS
    row = sky_row(sight.rays.slope.ravel()[where])
    index = row * SKY_COLUMNS + column[sight.rays.column.ravel()[where]]
    flat[where] = heaven.reshape(-1, 3)[index]


def _paint_ground(flat: np.ndarray, view: View, now: Light, sight: Sight) -> None:
    """Looks each ground pixel up in the texture of its block, coarser with distance."""
    where = np.flatnonzero(sight.layer == 0)
    slope = np.minimum(sight.rays.slope.ravel()[where], np.float32(-1e-3))
    depth = np.float32(-view.height_m) / slope
    (east, north), right = view.axes
    side = sight.rays.side.astype(np.float32)[sight.rays.column.ravel()[where]]
    x = view.x + depth * (np.float32(east) + side * np.float32(right[0]))
    y = view.y + depth * (np.float32(north) + side * np.float32(right[1]))
    blur = depth * np.sqrt(depth / np.float32(view.height_m)) / np.float32(view.focal * FINER)
    level = _level(blur * scenery.GROUND_TEXELS, scenery.GROUND_LEVELS)
    block_x, block_y = np.floor(x / PITCH), np.floor(y / PITCH)
    kind = (block_x * 3 + block_y * 5).astype(np.int32) % scenery.GROUND_KINDS
    fine = np.float32(scenery.GROUND_TEXELS) / (1 << level)
    column = ((x - block_x * PITCH) * fine).astype(np.int32)
    row = ((y - block_y * PITCH) * fine).astype(np.int32)
    flat[where] = _ground_colour(kind, level, row, column) * _ground_light(now)


def _ground_colour(
    kind: np.ndarray, level: np.ndarray, row: np.ndarray, column: np.ndarray
) -> np.ndarray:
    texels, starts, sizes = scenery.ground_table()
    size = sizes[level]
    index = starts[level] + (kind * size + np.minimum(row, size - 1)) * size
    return texels[index + np.minimum(column, size - 1)]


def _ground_light(now: Light) -> np.ndarray:
    return (now.shade + 0.5 * now.sun + 0.6 * now.lamps).astype(np.float32)


def _level(texels: np.ndarray, count: int) -> np.ndarray:
    """How coarse a texture has to be where a ray covers so many of its finest texels."""
    exponent = np.frexp(np.maximum(texels, np.float32(0.5)))[1]
    return np.clip(exponent, 0, count - 1)


def _paint_walls(
    flat: np.ndarray,
    view: View,
    now: Light,
    sight: Sight,
    boxes: np.ndarray,
    keys: list[Key],
    lit: np.ndarray,
) -> None:
    """Looks each wall pixel up in its texture, then lights it."""
    where = np.flatnonzero((sight.layer > 0) & (sight.layer <= LAYERS))
    index = sight.index.ravel()[where]
    depth = sight.hits.depth.ravel()[index]
    height = np.maximum(view.height_m + depth * sight.rays.slope.ravel()[where], 0)
    start, stride, fine = _texture_columns(view, sight, boxes, keys)
    row = (height * fine[index]).astype(np.int32)
    texels = shared_atlas().texels[start[index] + row * stride[index]]
    painted = texels.view(np.uint8).reshape(-1, 4)
    bright, veil = _wall_light(now, sight.hits)
    colour = painted[:, :3] * bright[index]
    if now.lamps.any():
        fall = 1 / (1 + (height / np.float32(4.5)) ** 2)
        colour += painted[:, :3] * (fall[:, None] * now.lamps.astype(np.float32))
        colour += lit[painted[:, 3]][:, None] * WINDOW_LIGHT
    flat[where] = colour + veil[index]


def _texture_columns(
    view: View, sight: Sight, boxes: np.ndarray, keys: list[Key]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each hit its column's first texel, texels to the next row, rows a metre, [L * C]."""
    hits = sight.hits
    used = np.unique(hits.box[hits.depth < FAR])
    sizes = np.column_stack([(boxes[:, 2:4] - boxes[:, :2]).max(1), boxes[:, 4]])
    table = np.ones((len(boxes), LEVELS, 3), np.int32)
    table[used] = shared_atlas().table([keys[k] for k in used], sizes[used])
    across = np.abs(np.gradient(hits.along, axis=1)) * hits.length  # metres between two columns
    upwards = hits.depth / (view.focal * FINER)
    level = _level(np.clip(across, upwards, 3 * upwards) * TEXELS, LEVELS)
    start, rows, columns = np.moveaxis(table[hits.box, level], -1, 0)
    start = start + (hits.along * columns).astype(np.int32)
    fine = (rows - 0.01) / boxes[:, 4][hits.box]
    return start.ravel(), columns.ravel(), fine.astype(np.float32).ravel()


def _wall_light(now: Light, hits: Hits) -> tuple[np.ndarray, np.ndarray]:
    """Factor and haze for each hit, [L * C, 3] each."""
    angle = np.radians(now.sun_deg)
    toward = np.sin(angle) * hits.outward[0] + np.cos(angle) * hits.outward[1]
    haze = (0.6 * (1 - np.exp(-hits.depth / 150.0)))[..., None]
    bright = (now.shade + np.maximum(toward, 0)[..., None] * now.sun) * (1 - haze)
    veil = (haze * now.horizon).astype(np.float32)
    return bright.astype(np.float32).reshape(-1, 3), veil.reshape(-1, 3)


def _sprites(view: View, here: Block) -> list[Sprite]:
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
    """Indices of the things ahead that are neither too far nor in the lens."""
    ahead, right = view.axes
    level = things[:, :2] - (view.x, view.y)
    depth, side = level @ ahead, np.abs(level @ right)
    edge = np.tan(np.radians(view.fov_deg / 2 + 5)) * depth + 3
    return np.flatnonzero((depth > NEAREST_M) & (depth < SIGHT_SMALL_M) & (side < edge))


def _paint_sprite(image: np.ndarray, view: View, now: Light, sight: Sight, sprite: Sprite) -> None:
    """Paints in place what no wall hides."""
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
    image[window][shown] = texel[shown][:, :3] * _ground_light(now)


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
