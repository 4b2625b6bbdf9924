"""Lays out the streets: which buildings, trees, lamps and parking spaces stand where."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

# metres from one street's middle to the next: a block and half of each street around it
PITCH = 72.0
ROAD_HALF = 4.0  # kerb to the middle of the road; the outer 1.7 m are parking spaces
FRONT = 7.0  # middle of the road to the line that no building crosses
DEPTH = 12.0  # how deep the buildings of a block are
CAR = (4.2, 1.7, 1.5)  # length, width, height in metres
NEAR_CROSSING = 11.0  # nobody parks nearer to the middle of a crossing

Key = tuple[int, ...]  # what a building looks like: the seeds of its facade


@dataclass(frozen=True)
class Town:
    """One part of the city; towns with another seed or part have no building in common."""

    seed: int
    part: int

    def generator(self, *purpose: int) -> np.random.Generator:
        """Random numbers that depend only on the town and what they are for."""
        entropy = np.random.SeedSequence([self.seed, self.part, *purpose])
        return np.random.Generator(np.random.Philox(entropy))


@dataclass(frozen=True)
class Block:
    """Things on a piece of ground; boxes are rows of west, south, east, north, height."""

    boxes: np.ndarray  # [N, 5] buildings
    keys: tuple[Key, ...]  # [N]
    trees: np.ndarray  # [T, 4] easting, northing, height, variant
    lamps: np.ndarray  # [L, 2] easting, northing
    parking: np.ndarray  # [P, 5] boxes, whether a car stands there or not


@lru_cache(maxsize=64)
def around(town: Town, column: int, row: int) -> Block:
    """The 4 x 4 blocks around a crossing: as far as one sees down a street."""
    near = [(i, j) for i in range(column - 2, column + 2) for j in range(row - 2, row + 2)]
    blocks = [block(town, i, j) for i, j in near]
    boxes, trees, lamps, parking = (
        np.concatenate([getattr(b, name) for b in blocks])
        for name in ("boxes", "trees", "lamps", "parking")
    )
    return Block(boxes, tuple(key for b in blocks for key in b.keys), trees, lamps, parking)


@lru_cache(maxsize=512)
def block(town: Town, column: int, row: int) -> Block:
    """The block whose south-west crossing is (column, row), in metres of the town."""
    rng = town.generator(1, column % 2**32, row % 2**32)
    corner = np.array([column, row]) * PITCH
    shift = np.array([*corner, *corner, 0.0])
    boxes = _buildings(rng)
    keys = tuple((town.seed, town.part, column, row, k) for k in range(len(boxes)))
    trees = _trees(rng)
    trees[:, :2] += corner
    lamps = [_along_edge(np.array([18.0, 45.0]), 4.4, side) + corner for side in range(4)]
    return Block(boxes + shift, keys, trees, np.concatenate(lamps), _parking() + shift)


def _buildings(rng: np.random.Generator) -> np.ndarray:
    """Four rows of houses along the edge of a block, some lots left empty."""
    far = PITCH - FRONT
    south, north = (_row(rng, FRONT, far, 5) for _ in range(2))
    west, east = (_row(rng, FRONT + DEPTH, far - DEPTH, 3) for _ in range(2))
    rows = [
        _houses(south, FRONT, 1),
        _houses(north, far, -1),
        _houses(west, FRONT, 1)[:, [1, 0, 3, 2, 4]],
        _houses(east, far, -1)[:, [1, 0, 3, 2, 4]],
    ]
    boxes = np.concatenate(rows)
    return boxes[rng.random(len(boxes)) > 0.08]


def _row(rng: np.random.Generator, start: float, stop: float, count: int) -> np.ndarray:
    """Start, end, setback and height of houses side by side, [count, 4]."""
    shares = rng.uniform(0.7, 1.3, count)
    ends = start + (stop - start) * np.cumsum(shares) / shares.sum()
    starts = np.concatenate([[start], ends[:-1]])
    alley = np.where(rng.random(count) < 0.2, rng.uniform(0.8, 2.0, count), 0.0)
    setback = np.where(rng.random(count) < 0.5, 0.0, rng.uniform(0.3, 2.5, count))
    heights = 4.2 + 3.0 * rng.integers(1, 6, count) + rng.uniform(-0.3, 0.6, count)
    return np.stack([starts, ends - alley, setback, heights], axis=1)


def _houses(row: np.ndarray, line: float, inward: int) -> np.ndarray:
    """Boxes of a row that runs west to east and faces the street at `line`."""
    start, end, setback, height = row.T
    front, back = line + inward * setback, np.full(len(row), line + inward * DEPTH)
    return np.stack([start, np.minimum(front, back), end, np.maximum(front, back), height], axis=1)


def _trees(rng: np.random.Generator) -> np.ndarray:
    """A row of trees on some of the four pavements, and a few in the yard."""
    along = np.arange(13.0, PITCH - 12.0, 8.0)
    sides = np.concatenate([_along_edge(along, 4.7, side) for side in range(4)])
    is_avenue = np.repeat(rng.random(4) < 0.4, len(along))
    kept = sides[is_avenue & (rng.random(len(sides)) < 0.7)]
    places = np.concatenate([kept, rng.uniform(24, PITCH - 24, (5, 2))])
    heights = rng.uniform(4.0, 6.5, len(places))
    return np.column_stack([places, heights, rng.integers(0, 6, len(places))])


def _parking() -> np.ndarray:
    """Eight parking spaces along each side of the block."""
    along = np.arange(NEAR_CROSSING + CAR[0] / 2, PITCH - NEAR_CROSSING - CAR[0] / 2, 5.6)
    inset = ROAD_HALF - CAR[1] / 2 - 0.1
    spaces = []
    for side in range(4):
        middle = _along_edge(along, inset, side)
        half = np.array(CAR[:2] if side < 2 else CAR[1::-1]) / 2
        spaces.append(np.hstack([middle - half, middle + half, np.full((len(along), 1), CAR[2])]))
    return np.concatenate(spaces)


def _along_edge(along: np.ndarray, inset: float, side: int) -> np.ndarray:
    """Points on a line inside the block's south, north, west or east edge, [N, 2]."""
    across = np.full(len(along), inset if side in (0, 2) else PITCH - inset)
    return np.column_stack([along, across] if side < 2 else [across, along])
