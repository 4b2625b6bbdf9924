"""Training steps: which images their tuples need, and the descriptors with gradients."""

from collections.abc import Sequence

import numpy as np

from vprlib.train.augmentation import Change
from vprlib.train.mining import Tuple

Part = list[Tuple]  # tuples whose images go through the network at once
Step = list[Part]  # parts whose gradients are summed before the optimiser moves


def as_steps(found: Sequence[Tuple | None], queries: int, parts: int) -> list[Step]:
    """Cuts the queries of a block into steps of `parts` times `queries`; the last may be shorter.

    Queries without a tuple drop out; so does a step in which all of them do.
    """
    size = queries * parts
    chunks = (found[start : start + size] for start in range(0, len(found), size))
    kept = ([t for t in chunk if t is not None] for chunk in chunks)
    return [[ts[i : i + queries] for i in range(0, len(ts), queries)] for ts in kept if ts]


def database_images(part: Part) -> list[tuple[int, Change]]:
    """Each database image that the part needs, as its tuple wants it, once, in rising order."""
    return sorted({(row, t.change) for t in part for row in (t.positive, *t.negatives.tolist())})


def triplet_places(part: Part) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places of query, positive and negative of each triplet: queries stand before database."""
    places = {image: len(part) + n for n, image in enumerate(database_images(part))}
    triplets = [
        (query, places[t.positive, t.change], places[row, t.change])
        for query, t in enumerate(part)
        for row in t.negatives.tolist()
    ]
    query, positive, negative = np.array(triplets).T
    return query, positive, negative
