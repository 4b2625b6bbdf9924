"""Puts the first results of each query into the order of their inliers."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from vprlib.evaluate.predictions import Predictions
from vprlib.images.batches import ImageSource, load_ahead
from vprlib.pipeline.artifacts import Attribute, write_hdf5
from vprlib.pipeline.progress import counting
from vprlib.pipeline.runtime import RuntimeSettings
from vprlib.pipeline.stored import reading
from vprlib.search.request import Neighbors
from vprlib.verify.features import BYTES_PER_PAIR, Features, Looker, count_inliers, threads
from vprlib.verify.settings import KeypointSettings, MatchSettings

Look = Callable[[int], Features]  # gives the features of an image


@dataclass(frozen=True)
class Reranked:
    """The results of all queries, [Q, K] each, in their new order."""

    rows: np.ndarray  # of the database; -1 where no more are left
    distances: np.ndarray
    inliers: np.ndarray  # -1 of a result that was not looked at
    ranks: np.ndarray  # that each result had before, from zero

    def first_inliers(self) -> np.ndarray:
        """Of the result that was first before [Q]."""
        return np.take_along_axis(self.inliers, self.ranks.argmin(axis=1)[:, None], axis=1)[:, 0]


def rerank(
    queries: Look,
    database: Look,
    found: Neighbors,
    p: MatchSettings,
    bytes_each: int,
    runtime: RuntimeSettings,
) -> Reranked:
    """Looks again at the first `top` results of each query; a pair takes `bytes_each` of memory.

    Equal inliers keep their order, and results after the first ones stay where they are. Inliers
    depend on the pair of images alone, however many threads work.
    """

    def inliers_of(asked: Features, row: int) -> int:
        return count_inliers(asked, database(row), p.ratio)

    def pairs() -> Iterator[list[Callable[[], int]]]:
        for query, rows in enumerate(found.rows[:, : p.top]):
            asked = queries(query)
            yield [partial(inliers_of, asked, row) for row in rows[rows >= 0].tolist()]

    inliers = np.full(found.rows.shape, -1, np.int32)
    workers = threads(runtime, bytes_each)
    # on several threads a product may be summed in another order
    with threadpool_limits(1), counting(len(inliers), "looking again") as count:
        for query, counted in enumerate(load_ahead(pairs(), workers, ahead=workers)):
            inliers[query, : len(counted)] = counted
            count(1, 0)
    ranks = np.argsort(-inliers, axis=1, kind="stable")
    arrays = {"rows": found.rows, "distances": found.distances, "inliers": inliers}
    moved = {name: np.take_along_axis(values, ranks, axis=1) for name, values in arrays.items()}
    return Reranked(**moved, ranks=ranks)


def look_again(
    photos: ImageSource,
    database: ImageSource,
    found: Neighbors,
    images: KeypointSettings,
    p: MatchSettings,
    runtime: RuntimeSettings,
) -> Reranked:
    """The same from the pixels of photographs and of the database images found for them.

    Thresholds of inliers are those of `top` results, so `found` should hold as many.
    """
    needed = database.take(np.unique(found.rows[:, : p.top].clip(0)))
    largest = max(Looker(side, images).bytes_each for side in (photos, needed))
    bytes_each = largest + BYTES_PER_PAIR * images.keypoints**2
    sides = Looker(photos, images), Looker(database, images, "leave_out")
    return rerank(*sides, found, p, bytes_each, runtime)


def write_reranked(path: Path, made: Reranked, attributes: Mapping[str, Attribute]) -> None:
    write_hdf5(path, vars(made), attributes)


def read_reranked(path: Path, before: Predictions) -> Reranked:
    """Refuses what does not hold the results of these predictions in another order."""
    kinds = {"rows": "i", "distances": "f", "inliers": "i", "ranks": "i"}
    with reading(path) as file:
        made = Reranked(**{name: file.array(name, kind, "Q K") for name, kind in kinds.items()})
        places = np.broadcast_to(np.arange(before.rows.shape[1]), before.rows.shape)
        if made.ranks.shape != places.shape or (np.sort(made.ranks, axis=1) != places).any():
            file.refuse("'ranks' is no order of what was predicted")
        if (np.take_along_axis(before.rows, made.ranks, axis=1) != made.rows).any():
            file.refuse("its rows are not those that were predicted")
        if (np.diff(made.inliers, axis=1) > 0).any():
            file.refuse("its rows are not in the order of their inliers")
    return made
