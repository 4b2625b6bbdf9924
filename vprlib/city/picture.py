"""Colours what the camera sees: sky, ground, walls, and what stands before them."""

import numpy as np

from vprlib.city import scenery
from vprlib.city.atlas import shared_atlas
from vprlib.city.camera import FAR, FINER, LAYERS, Hits, Sight, View, in_sight, rays, see
from vprlib.city.facade import LEVELS, TEXELS
from vprlib.city.light import SKY_COLUMNS, Light, lit_windows, sky, sky_row
from vprlib.city.sprites import SIGHT_SMALL_M, Sprite, paint_sprite, standing
from vprlib.city.town import PITCH, Block, Key, Town, around

SIGHT_M = 170.0
PARKED_SHARE = 0.22  # how many parking spaces are taken
WINDOW_LIGHT = np.array([255, 205, 130], np.float32)


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
    sight = see(view, seen, boxes)
    image = np.empty((*sight.layer.shape, 3), np.float32)
    flat = image.reshape(-1, 3)
    _paint_sky(flat, view, sky(now, weather), sight)
    _paint_ground(flat, view, now, sight)
    _paint_walls(flat, view, now, sight, boxes, keys, lit_windows(now, weather))
    for sprite in standing(view, here) + passers:
        paint_sprite(image, view, now, sight, sprite)
    return image


def _boxes(
    view: View, here: Block, side: np.ndarray, parked: np.random.Generator
) -> tuple[np.ndarray, list[Key]]:
    """Houses and parked cars in sight, with their keys."""
    houses = in_sight(view, here.boxes, side, SIGHT_M)
    is_taken = parked.random(len(here.parking)) < PARKED_SHARE
    colours = parked.integers(scenery.CAR_COLOURS, size=len(here.parking))
    cars = in_sight(view, here.parking, side, SIGHT_SMALL_M)
    cars = cars[is_taken[cars]]
    keys = [here.keys[k] for k in houses] + [(int(colours[k]),) for k in cars]
    return np.concatenate([here.boxes[houses], here.parking[cars]]), keys


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
    texels, starts, sizes = scenery.ground_table()
    size = sizes[level]
    index = starts[level] + (kind * size + np.minimum(row, size - 1)) * size
    index += np.minimum(column, size - 1)
    flat[where] = texels.take(index, axis=0) * now.on_ground


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
    depth = sight.hits.depth.ravel().take(index)
    height = np.maximum(view.height_m + depth * sight.rays.slope.ravel().take(where), 0)
    start, stride, fine = _texture_columns(view, sight, boxes, keys)
    row = (height * fine.take(index)).astype(np.int32)
    texels = shared_atlas().texels.take(start.take(index) + row * stride.take(index))
    painted = texels.view(np.uint8).reshape(-1, 4)
    bright, veil = _wall_light(now, sight.hits)
    factor = bright.take(index, axis=0)
    if now.lamps.any():
        fall = 1 / (1 + (height / np.float32(4.5)) ** 2)
        factor += fall[:, None] * now.lamps.astype(np.float32)
    colour = painted[:, :3] * factor + veil.take(index, axis=0)
    if lit.any():
        colour += lit.take(painted[:, 3])[:, None] * WINDOW_LIGHT
    flat[where] = colour


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
