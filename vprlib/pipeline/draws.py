"""Random draws, each seeded by what it is for, so that a run that goes on draws the same again."""

from enum import IntEnum

import numpy as np


class Draw(IntEnum):
    """What a draw is for; 0 is left to the order of the queries and to their own negatives."""

    POSITIVE = 1
    CHANGE = 2  # of a tuple's images
    SAMPLE = 3  # of the database, for a whole block
    VALIDATION = 4
    RANKING = 5


def generator(what: Draw, seed: int, epoch: int = 0, place: int = 0) -> np.random.Generator:
    """`place` is the query or the block within the epoch."""
    return np.random.default_rng([seed, epoch, place, what])


def choose_rows(available: int, wanted: int, seed: int) -> np.ndarray:
    """Rising rows of random images, without replacement; all where there are fewer."""
    return some_rows(np.random.default_rng([seed, available]), available, wanted)


def some_rows(draw: np.random.Generator, available: int, wanted: int) -> np.ndarray:
    """Rising rows without replacement; all where there are fewer."""
    return np.sort(draw.choice(available, min(wanted, available), replace=False))
