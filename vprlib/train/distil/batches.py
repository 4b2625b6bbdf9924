"""The batches of an epoch: which images a student compares with each other."""

from collections.abc import Callable

import numpy as np

from vprlib.pipeline.draws import Draw, generator
from vprlib.train.settings import DistilSettings

# cosines [n] of one image and some others to the teacher
Similarities = Callable[[int, np.ndarray], np.ndarray]


def draw_batches(
    rows: np.ndarray, settings: DistilSettings, epoch: int, similarities: Similarities | None
) -> np.ndarray:
    """Rows [S, B] of the images of each step, each image once; -1 where a batch is short.

    A batch holds a random image and, given similarities, those of a random pool that are most like
    it. The last batch takes what is left, and an image that would be alone joins the one before.
    """
    size, waiting = settings.images_a_batch, _order(rows, settings.seed, epoch)
    found = []
    while len(waiting):
        first, others = waiting[:1], waiting[1:]
        if similarities is not None and len(others) >= size:
            pool = others[: settings.image_pool]
            nearness = similarities(int(first[0]), pool)
            others = pool[np.argsort(-nearness, kind="stable")]
        found.append(np.append(first, others[: size - 1]))
        waiting = waiting[~np.isin(waiting, found[-1])]
    if len(found) > 1 and len(found[-1]) == 1:
        found[-2:] = [np.concatenate(found[-2:])]
    longest = max(map(len, found))
    return np.stack([np.pad(b, (0, longest - len(b)), constant_values=-1) for b in found])


def _order(rows: np.ndarray, seed: int, epoch: int) -> np.ndarray:
    return generator(Draw.STUDENT, seed, epoch).permutation(rows)
