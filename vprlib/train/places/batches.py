"""The batches of an epoch: which places are learnt from together."""

import numpy as np

from vprlib.pipeline.draws import Draw, generator
from vprlib.train.places.cliques import Distances
from vprlib.train.settings import PlacesSettings


def draw_batches(
    places: np.ndarray, settings: PlacesSettings, epoch: int, distances: Distances | None
) -> np.ndarray:
    """Rows [S, P · M] of the images of each step, place by place; -1 where a batch is short.

    Each place [n, M] is in one batch, but for a last one that would be alone. A batch holds a
    random place and, given distances of descriptors, others drawn by how much they look like it.
    """
    draw = generator(Draw.BATCHES, settings.seed, epoch)
    count, images = settings.places_a_batch, places.shape[1]
    waiting = draw.permutation(len(places))
    found = []
    while len(waiting) > 1:
        others = waiting[1:]
        if distances is None:
            chosen = others[: count - 1]
        else:
            pool = others[: settings.place_pool]
            apart = distances(int(places[waiting[0], 0]), places[pool, 0])
            chosen = draw.choice(
                pool, min(count - 1, len(pool)), replace=False, p=chances(apart, count - 1)
            )
        rows = places[np.append(waiting[0], chosen)].reshape(-1)
        found.append(np.pad(rows, (0, count * images - len(rows)), constant_values=-1))
        waiting = others[~np.isin(others, chosen)]
    return np.array(found, np.int64).reshape(-1, count * images)


def chances(apart: np.ndarray, wanted: int) -> np.ndarray:
    """Probabilities ∝ max d − d, as in clique mining; alike if too few would have any."""
    nearness = apart.max() - apart.astype(float)
    if np.count_nonzero(nearness) < min(wanted, len(apart)):
        nearness = nearness + max(nearness.max(), 1.0) * 1e-3
    return nearness / nearness.sum()
