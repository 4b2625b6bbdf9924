"""Walks the streets: where panoramas are taken, and where beside them queries are."""

from math import isqrt

import numpy as np

from vprlib.city.town import PITCH, Town

LANE_M = 1.7  # a camera stays this near to the middle of the road, clear of parked cars
PAVEMENT_M = (4.8, 6.2)  # or between these, on the pavement


def place_position(town: Town, index: int, spacing_m: float, purpose: int) -> np.ndarray:
    """Middle of panorama `index` in metres of the town, [2]; the route never ends."""
    slots = int(PITCH // spacing_m)
    segment, slot = divmod(index, slots)
    wobble = town.generator(purpose, index).uniform(-1, 1, 2) * (min(0.6, 0.1 * spacing_m), 0.8)
    along = (slot + 0.5) * PITCH / slots + wobble[0]
    offset = np.array([along, wobble[1]])
    # blocks in a square that grows by one row and one column at a time
    size = isqrt(segment // 2)
    rest = segment // 2 - size * size
    block = (size, rest) if rest <= size else (2 * size - rest, size)
    return np.array(block) * PITCH + turned(offset, is_northward(index, slots))


def is_northward(index: int, slots: int) -> bool:
    """Streets alternate between running east and running north."""
    return index // slots % 2 == 1


def turned(offset: np.ndarray, northward: bool) -> np.ndarray:
    """(along, across) a street as (east, north)."""
    return offset[..., ::-1] if northward else offset


def spot_beside(
    rng: np.random.Generator, position: np.ndarray, northward: bool, offset_m: tuple[float, float]
) -> np.ndarray:
    """A point on the road or the pavement at that distance from a panorama, [2]."""
    angle, radius = rng.uniform(0, 2 * np.pi, 64), rng.uniform(*offset_m, 64)
    offset = np.stack([np.cos(angle), np.sin(angle)], axis=1) * radius[:, None]
    offset[-1] = (radius[-1], 0.0)  # straight along the street is always free
    along_across = turned(position, northward) + offset
    across = np.abs((along_across[:, 1] + PITCH / 2) % PITCH - PITCH / 2)
    is_free = (across < LANE_M) | ((across > PAVEMENT_M[0]) & (across < PAVEMENT_M[1]))
    is_free[-1] = True
    return turned(along_across[int(is_free.argmax())], northward)
