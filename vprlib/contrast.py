"""What a second run answers otherwise than the first, query by query."""

from dataclasses import dataclass

import numpy as np

from vprlib.differences import CompareSettings, Difference, difference_interval
from vprlib.intervals import IntervalSettings


@dataclass(frozen=True)
class Change:
    """Of the counted queries [Q], within the first N results."""

    difference: Difference
    gained: np.ndarray  # rows of the queries that only the second run finds
    lost: np.ndarray
    both_right: np.ndarray
    both_wrong: np.ndarray


@dataclass(frozen=True)
class Moves:
    """How the rank of the first right image moved, within the results that both kept."""

    kept: int
    up: int  # towards the first place, or found anew
    down: int
    same: int
    found: int  # of `up`, those of which the first run kept no right image
    lost: int  # of `down`
    median: float | None  # of new rank less old rank, where both kept a right image


def change(
    right_a: np.ndarray,
    right_b: np.ndarray,
    counted: np.ndarray,
    place: np.ndarray,
    interval: IntervalSettings,
    settings: CompareSettings,
) -> Change:
    """All arguments are [Q]: what both runs found, which queries count, and their locations."""
    sides = (right_a[counted], right_b[counted])
    return Change(
        difference_interval(*sides, place[counted], interval, settings),
        gained=np.flatnonzero(counted & ~right_a & right_b),
        lost=np.flatnonzero(counted & right_a & ~right_b),
        both_right=np.flatnonzero(counted & right_a & right_b),
        both_wrong=np.flatnonzero(counted & ~right_a & ~right_b),
    )


def moves(right_a: np.ndarray, right_b: np.ndarray, counted: np.ndarray) -> Moves:
    """From what each run's results [Q, K] are; the two may have kept different numbers of them."""
    kept = min(right_a.shape[1], right_b.shape[1])
    a, b = (_first(right[counted, :kept]) for right in (right_a, right_b))
    both = (a <= kept) & (b <= kept)
    return Moves(
        kept,
        up=int((b < a).sum()),
        down=int((b > a).sum()),
        same=int((b == a).sum()),
        found=int(((a > kept) & (b <= kept)).sum()),
        lost=int(((a <= kept) & (b > kept)).sum()),
        median=float(np.median((b - a)[both])) if both.any() else None,
    )


def _first(right: np.ndarray) -> np.ndarray:
    """The rank, from 1, of the first right result [Q]; one past the last where there is none."""
    return np.where(right.any(axis=1), right.argmax(axis=1) + 1, right.shape[1] + 1)
