"""Mining of training tuples: for each query a positive and the hardest or random negatives."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch

from vprlib.images.index import ImageIndex
from vprlib.pipeline.arrays import forget
from vprlib.pipeline.draws import Draw, generator, some_rows
from vprlib.pipeline.progress import progress
from vprlib.places.geo import Pairs, pair_distances, pairs_within
from vprlib.places.truth import Listed
from vprlib.train.augmentation import UNCHANGED, Change
from vprlib.train.losses import margin_for
from vprlib.train.pairwise import squared_distances
from vprlib.train.settings import TrainSettings

SAME_SPOT_M = 1.0
# descriptors by row of the source of that name: of these rows, or of all if there is None
Describe = Callable[[str, np.ndarray | None], np.ndarray]
_NO_ROWS = np.zeros(0, np.int64)


@dataclass(frozen=True)
class Candidates:
    """The possible positives and negatives of each query, by position."""

    positives: Pairs  # potential positives
    near: Pairs  # too near to be a negative
    database_size: int

    def trainable(self) -> np.ndarray:
        """Rows of the queries that have a potential positive and a negative."""
        has_negative = self.near.counts() < self.database_size
        return np.flatnonzero((self.positives.counts() > 0) & has_negative)

    def without_self(self) -> "Candidates":
        """Without each image as its own positive, for queries that are the database."""
        is_other = self.positives.rows != self.positives.queries()
        return Candidates(self.positives.keep(is_other), self.near, self.database_size)


@dataclass(frozen=True)
class Tuple:
    """Rows of a query, its positive, and negatives that violate the margin, nearest first."""

    query: int
    positive: int
    negatives: np.ndarray
    change: Change = UNCHANGED  # augmentation of all its images


@dataclass(frozen=True)
class Pool:
    """The database rows that one query is compared with, ascending."""

    query: int
    positives: np.ndarray
    negatives: np.ndarray


@dataclass(frozen=True)
class Mined:
    tuple: Tuple | None  # None if nothing violates the margin
    hardest: np.ndarray  # database rows to remember


def candidates(
    queries: ImageIndex,
    database: ImageIndex,
    positive_radius_m: float,
    negative_radius_m: float,
    exclude_same_spot: bool,
    listed: Listed | None = None,
) -> Candidates:
    """Positives are within a radius, over 1 m away and of another time; negatives beyond a radius.

    If the ground truth is a list, the list decides what is positive and what is not negative.
    """
    if listed is not None:
        return Candidates(listed.training, listed.no_negatives(), len(database))
    near = pairs_within(queries.positions, database.positions, negative_radius_m)
    positives = pairs_within(queries.positions, database.positions, positive_radius_m)
    if exclude_same_spot:
        apart = pair_distances(positives, queries.positions, database.positions) > SAME_SPOT_M
        positives = positives.keep(apart)
    if "time" in queries.extra and "time" in database.extra:
        times = queries.extra["time"][positives.queries()]
        positives = positives.keep(times != database.extra["time"][positives.rows])
    return Candidates(positives, near, len(database))


def pool_of(
    query: int,
    allowed: Candidates,
    remembered: np.ndarray,
    settings: TrainSettings,
    epoch: int,
    sample: np.ndarray | None = None,
) -> Pool:
    """The images a query is compared with; `sample` replaces the query's own random negatives."""
    positives = allowed.positives.of(query)
    if settings.positive == "random":
        positives = generator(Draw.POSITIVE, settings.seed, epoch, query).choice(positives, 1)
    if sample is None:
        negatives = random_negatives(allowed, query, settings, epoch)
    else:
        negatives = np.setdiff1d(sample, allowed.near.of(query), assume_unique=True)
    return Pool(query, positives, np.union1d(negatives, remembered[remembered >= 0]))


def mine_block(
    pools: Iterable[Pool],
    queries: np.ndarray,
    database: np.ndarray,
    settings: TrainSettings,
    device: torch.device,
    memory_bytes: int,
) -> Iterator[Mined]:
    """Mines the tuple of each pool's query from descriptors [Q, D] and [N, D], in that order.

    Queries are compared in blocks whose descriptors, distances and pools fit a quarter of the
    memory. Only rows that are in a pool need to hold a descriptor.
    """
    count, dim = database.shape
    pooled = min(settings.negative_pool, count)
    size = max(1, memory_bytes // 4 // max(4 * dim, 4 * count + 8 * pooled))
    waiting = iter(pools)
    while part := list(islice(waiting, size)):
        rows = pooled_rows(part, count)
        if 2 * len(rows) > count:  # reading a whole file is fastest
            rows = np.arange(count)
        own = queries[[pool.query for pool in part]]
        forget(queries)
        squared = squared_distances(own, database, rows, device, memory_bytes // 8)
        columns = np.full(count, -1)
        columns[rows] = np.arange(len(rows))
        for pool, to_rows in zip(part, squared, strict=True):
            positives, negatives = columns[pool.positives], columns[pool.negatives]
            yield _mined(pool, to_rows[positives], to_rows[negatives], settings)


def pooled_rows(pools: Iterable[Pool], database_size: int) -> np.ndarray:
    """The database rows that are in any of the pools, ascending."""
    is_wanted = np.zeros(database_size, bool)
    for pool in pools:
        is_wanted[pool.positives] = True
        is_wanted[pool.negatives] = True
    return np.flatnonzero(is_wanted)


def random_tuple(pool: Pool) -> Tuple:
    """The tuple of random mining: the positive of the pool and all its negatives."""
    return Tuple(pool.query, int(pool.positives[0]), pool.negatives)


def random_negatives(
    allowed: Candidates, query: int, settings: TrainSettings, epoch: int
) -> np.ndarray:
    """Distinct random rows that are not near the query, ascending; all if there are fewer."""
    count = settings.negatives if settings.mining == "random" else settings.negative_pool
    near = allowed.near.of(query)
    available = allowed.database_size - len(near)
    draw = np.random.default_rng([settings.seed, epoch, query])
    picks = draw.choice(available, min(count, available), replace=False)
    # the i-th row that is not near: shift past the near rows before it
    return np.sort(picks + np.searchsorted(near - np.arange(len(near)), picks, side="right"))


def block_sample(database_size: int, settings: TrainSettings, epoch: int, block: int) -> np.ndarray:
    """Distinct random rows, ascending, from which all queries of a block take negatives."""
    draw = generator(Draw.SAMPLE, settings.seed, epoch, block)
    return some_rows(draw, database_size, settings.negative_pool)


def _mined(
    pool: Pool, to_positives: np.ndarray, to_negatives: np.ndarray, settings: TrainSettings
) -> Mined:
    """The tuple from squared distances to both sides of a pool; ties go to the lowest row."""
    nearest = int(np.argmin(to_positives))
    hardest = np.argsort(to_negatives, kind="stable")[: settings.skip_hardest + settings.negatives]
    looked_at = hardest[settings.skip_hardest :]
    apart, limit = to_negatives[looked_at], to_positives[nearest]
    if settings.distance == "l2":
        apart, limit = np.sqrt(apart), np.sqrt(limit)
    is_violating = apart < limit + margin_for(settings.margin, settings.distance)
    negatives = pool.negatives[looked_at[is_violating]]
    positive = int(pool.positives[nearest])
    found = Tuple(pool.query, positive, negatives) if len(negatives) else None
    return Mined(found, pool.negatives[hardest])


@dataclass(frozen=True)
class Block:
    """Queries that are mined with the same weights of the network."""

    queries: np.ndarray
    epoch: int
    number: int  # within the epoch


def select(
    block: Block,
    allowed: Candidates,
    hardest: np.ndarray,
    settings: TrainSettings,
    describe: Describe,
    device: torch.device,
    memory_bytes: int,
    share: slice = slice(None),
) -> list[Mined]:
    """The mined tuple of each query of this share of the block, in order.

    `hardest` [Q, n] are the remembered negatives of each query, -1 for none. `full` describes the
    whole database, `partial` the pools of the whole block, and `random` nothing. This is the same
    for every share, even an empty one, so that several processes describe together.
    """
    sample = None
    if settings.mining == "partial":
        sample = block_sample(allowed.database_size, settings, block.epoch, block.number)

    def pool(query: int) -> Pool:
        return pool_of(query, allowed, hardest[query], settings, block.epoch, sample)

    own = block.queries[share].tolist()
    if settings.mining == "random":
        return [Mined(random_tuple(pool(query)), _NO_ROWS) for query in own]
    pools: Iterable[Pool] = map(pool, own)  # lazily
    rows = None
    if settings.mining == "partial":
        everyone = [pool(query) for query in block.queries.tolist()]
        pools, rows = everyone[share], pooled_rows(everyone, allowed.database_size)
    database = describe("database", rows)
    descriptors = describe("queries", block.queries)
    mined = mine_block(pools, descriptors, database, settings, device, memory_bytes)
    return list(progress(mined, len(own), f"epoch {block.epoch}: mining", "query"))
