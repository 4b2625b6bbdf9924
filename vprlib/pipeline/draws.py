"""Random draws, each with a seed of its own, so that a resumed run draws the same."""

from enum import IntEnum

import numpy as np


class Draw(IntEnum):
    """What a draw is for; 0 is left to the order of the queries and to their own negatives."""

    POSITIVE = 1
    CHANGE = 2  # of a tuple's images
    SAMPLE = 3  # of the database, for a whole block
    VALIDATION = 4
    RANKING = 5
    DROPOUT = 6  # of a part of a step
    PLACES = 7  # the order in which they are formed
    MEMBERS = 8  # images of a place
    BATCHES = 9
    STUDENT = 10  # the order of the images that it learns from


def generator(what: Draw, seed: int, epoch: int = 0, place: int = 0) -> np.random.Generator:
    """The generator of one draw; `place` is the query or block within the epoch."""
    return np.random.default_rng([seed, epoch, place, what])


def choose_rows(available: int, wanted: int, seed: int) -> np.ndarray:
    """Random rows in ascending order, without replacement; all rows if there are fewer."""
    return some_rows(np.random.default_rng([seed, available]), available, wanted)


def some_rows(draw: np.random.Generator, available: int, wanted: int) -> np.ndarray:
    """As above, by a generator."""
    return np.sort(draw.choice(available, min(wanted, available), replace=False))
