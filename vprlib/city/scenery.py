"""Paints what is no building: the ground, cars, trees, lamps and people."""

from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

from vprlib.city.town import FRONT, PITCH, ROAD_HALF

GROUND_TEXELS = 8  # texture pixels a metre of ground
GROUND_LEVELS = 4
_ASPHALT = (84.0, 94.0, 76.0, 89.0, 98.0, 80.0)  # blocks differ in asphalt and paving
_PAVING = [(170, 165, 155), (150, 130, 115), (135, 138, 142)]
GROUND_KINDS = len(_ASPHALT)
_PAINT = [
    (190, 30, 35), (240, 240, 240), (30, 30, 35), (130, 135, 140), (35, 70, 140), (60, 95, 70),
    (210, 190, 130), (235, 150, 40),
]  # fmt: skip
CAR_COLOURS = len(_PAINT)
_LEAVES = [(70, 105, 45), (90, 115, 50), (60, 90, 55), (120, 115, 50), (85, 120, 70), (55, 85, 35)]
_CLOTHES = [(150, 40, 45), (40, 50, 90), (70, 75, 70), (190, 170, 60), (25, 25, 30)]


@lru_cache(maxsize=1)
def ground_table() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All ground texels [N, 3], where each level starts, and its rows.

    A level, finest first, is [kind, rows, columns, 3] of a block with half of its streets.
    """
    levels = [np.stack([_ground(kind) for kind in range(GROUND_KINDS)])]
    for _ in range(GROUND_LEVELS - 1):
        fine = levels[-1].astype(np.float32)
        halves = fine.reshape(GROUND_KINDS, len(fine[0]) // 2, 2, len(fine[0]) // 2, 2, 3)
        levels.append(halves.mean((2, 4)).astype(np.uint8))
    starts = np.cumsum([0] + [level.size // 3 for level in levels[:-1]])
    sizes = np.array([level.shape[1] for level in levels])
    texels = np.concatenate([level.reshape(-1, 3) for level in levels]).astype(np.float32)
    return texels, starts.astype(np.int32), sizes.astype(np.int32)


def _ground(kind: int) -> np.ndarray:
    """A block from above, [576, 576, 3]: road with marks, kerb, paving, and a yard inside."""
    rng = np.random.Generator(np.random.PCG64(kind))
    size = round(PITCH * GROUND_TEXELS)
    metres = (np.arange(size) + 0.5) / GROUND_TEXELS
    edge = np.minimum(metres, PITCH - metres)
    inside = np.minimum(edge[:, None], edge[None])  # metres to the nearest street's middle
    along = np.where(edge[:, None] < edge[None], metres[None], metres[:, None])
    across = np.maximum(edge[:, None], edge[None])  # metres to the other street's middle
    colour = np.full((size, size, 3), _ASPHALT[kind])
    colour[inside > ROAD_HALF] = _PAVING[kind % len(_PAVING)]
    colour[inside > FRONT + 3] = (95, 110, 65)
    colour[(inside > ROAD_HALF) & (inside < ROAD_HALF + 0.25)] = (190, 188, 180)
    is_joint = (np.floor(metres * 4) % 4 == 0)[:, None] | (np.floor(metres * 4) % 4 == 0)[None]
    colour[is_joint & (inside > ROAD_HALF + 0.25) & (inside < FRONT + 3)] *= 0.9
    is_marked = (inside < 0.13) & (across > 9) & (along % 4 < 2)
    is_zebra = (across > 5) & (across < 8) & (inside < ROAD_HALF - 0.3) & (inside % 1.0 < 0.5)
    colour[is_marked | is_zebra] = 215
    return np.clip(colour * rng.uniform(0.92, 1.08, (size, size, 1)), 0, 255).astype(np.uint8)


@lru_cache(maxsize=1)
def car_sides() -> list[np.ndarray]:
    """One side of a parked car in each colour, lowest row first, [16, 48, 4]."""
    return [_flip(_vehicle(colour, (48, 16), 0.0)) for colour in _PAINT]


@lru_cache(maxsize=1)
def trees() -> list[np.ndarray]:
    """RGBA pictures of trees, [96, 72, 4]."""
    return [_tree(kind) for kind in range(len(_LEAVES))]


def _tree(kind: int) -> np.ndarray:
    rng = np.random.Generator(np.random.PCG64(100 + kind))
    image = Image.new("RGBA", (72, 96))
    pen = ImageDraw.Draw(image)
    pen.rectangle((33, 45, 38, 96), fill=(75, 60, 48, 255))
    for _ in range(90):
        angle, reach, size = rng.uniform(0, 2 * np.pi), rng.uniform(0, 1) ** 0.6, rng.uniform(3, 8)
        x, y = 36 + 27 * reach * np.cos(angle), 34 + 26 * reach * np.sin(angle)
        shade = rng.uniform(0.65, 1.0) * (1.25 - y / 120)
        leaf = tuple(int(c * shade) for c in _LEAVES[kind])
        pen.ellipse((x - size, y - size, x + size, y + size), fill=(*leaf, 255))
    return np.asarray(image)


@lru_cache(maxsize=1)
def lamp() -> np.ndarray:
    """RGBA picture of a street lamp, [128, 24, 4]."""
    image = Image.new("RGBA", (24, 128))
    pen = ImageDraw.Draw(image)
    pen.rectangle((11, 6, 12, 128), fill=(60, 65, 65, 255))
    pen.rectangle((10, 108, 13, 128), fill=(50, 55, 55, 255))
    pen.rectangle((7, 2, 16, 8), fill=(235, 225, 190, 255))
    return np.asarray(image)


@lru_cache(maxsize=1)
def passers() -> list[tuple[np.ndarray, float, float]]:
    """People, cars and vans that may hide a building: RGBA picture, width and height in metres."""
    people = [(_person(clothes), 0.7, 1.75) for clothes in _CLOTHES]
    cars = [(_vehicle(colour, (96, 34), 0.22), 4.3, 1.5) for colour in _PAINT]
    vans = [(_vehicle(colour, (96, 48), 0.05), 5.2, 2.3) for colour in _PAINT[1::2]]
    return people + cars + vans


def _person(clothes: tuple[int, int, int]) -> np.ndarray:
    image = Image.new("RGBA", (28, 70))
    pen = ImageDraw.Draw(image)
    pen.ellipse((9, 0, 19, 12), fill=(190, 150, 125, 255))
    pen.rounded_rectangle((5, 12, 23, 42), 5, fill=(*clothes, 255))
    pen.polygon([(7, 40), (21, 40), (23, 70), (16, 70), (14, 50), (11, 70), (5, 70)], (45, 45, 60))
    return np.asarray(image)


def _vehicle(colour: tuple[int, int, int], size: tuple[int, int], slope: float) -> np.ndarray:
    """A vehicle from the side; `slope` is the share of its length that bonnet and boot take."""
    width, height = size
    low = height // 2
    roof = [(slope * width, 0), (width * (1 - slope), 0), (width - 1, low), (0, low)]
    image = Image.new("RGBA", size)
    pen = ImageDraw.Draw(image)
    pen.polygon(roof, fill=(*colour, 255))
    pen.rectangle((0, height * 0.42, width, height * 0.85), fill=(*colour, 255))
    for left, right in ((slope + 0.03, 0.48), (0.52, 0.97 - slope)):
        box = (left * width, height * 0.1, right * width, height * 0.4)
        pen.rectangle(box, fill=(45, 55, 65, 255))
    for middle in (0.2, 0.8):
        x, r = middle * width, height * 0.2
        pen.ellipse((x - r, height - 2 * r, x + r, height - 1), fill=(20, 20, 22, 255))
    return np.asarray(image)


def _flip(picture: np.ndarray) -> np.ndarray:
    """The picture upside down; clear pixels become dark, and none emits light."""
    flat = picture[::-1].copy()
    is_clear = flat[..., 3] == 0
    flat[is_clear] = (40, 42, 46, 0)
    flat[..., 3] = 0
    return flat
