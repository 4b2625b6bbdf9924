"""Chooses the training tuples: the nearest positive and the hardest negatives of each query."""

from dataclasses import dataclass

import numpy as np

from vprlib.geo import Pairs, pair_distances, pairs_within, union
from vprlib.index import ImageIndex
from vprlib.losses import Distance, margin_for
from vprlib.truth import Listed

SAME_SPOT_M = 1.0


@dataclass(frozen=True)
class Candidates:
    """What the positions allow: whom a query may and may not be compared with."""

    positives: Pairs  # potential positives
    near: Pairs  # too near to be a negative
    database_size: int

    def trainable(self) -> np.ndarray:
        """Rows of the queries with a potential positive and a definite negative."""
        has_negative = self.near.counts() < self.database_size
        return np.flatnonzero((self.positives.counts() > 0) & has_negative)


@dataclass(frozen=True)
class Tuple:
    """Rows of one query, its positive and its violating negatives, nearest first."""

    query: int
    positive: int
    negatives: np.ndarray


@dataclass(frozen=True)
class Mined:
    tuple: Tuple | None  # none where nothing violates the margin
    hardest: np.ndarray  # database rows to remember


@dataclass(frozen=True)
class MiningRules:
    negatives: int  # at most so many a tuple
    pool: int  # random negatives looked at
    margin: float
    distance: Distance
    seed: int


def candidates(
    queries: ImageIndex,
    database: ImageIndex,
    positive_radius_m: float,
    negative_radius_m: float,
    exclude_same_spot: bool,
    listed: Listed | None = None,
) -> Candidates:
    """Positives within a radius, farther than 1 m and of another time; negatives beyond another.

    Where lists are the truth, they name the positives; what is right or doubtful is no negative.
    """
    if listed is not None:
        return Candidates(listed.training, union(listed.right, listed.doubtful), len(database))
    near = pairs_within(queries.positions, database.positions, negative_radius_m)
    positives = pairs_within(queries.positions, database.positions, positive_radius_m)
    if exclude_same_spot:
        apart = pair_distances(positives, queries.positions, database.positions) > SAME_SPOT_M
        positives = positives.keep(apart)
    if "time" in queries.extra and "time" in database.extra:
        times = queries.extra["time"][positives.queries()]
        positives = positives.keep(times != database.extra["time"][positives.rows])
    return Candidates(positives, near, len(database))


def mine(
    query: int,
    query_descriptor: np.ndarray,
    database: np.ndarray,
    allowed: Candidates,
    remembered: np.ndarray,
    rules: MiningRules,
    epoch: int,
) -> Mined:
    """The tuple of one query from descriptors [D] and [N, D], and its hardest negatives."""
    positive, to_positive = _nearest_positive(query, query_descriptor, database, allowed)
    pool = random_negatives(allowed, query, rules, epoch)
    pool = np.union1d(pool, remembered[remembered >= 0])
    to_pool = _distances(query_descriptor, database[pool])
    hardest = np.lexsort((pool, to_pool))[: rules.negatives]
    is_violating = _violates(to_pool[hardest], to_positive, rules)
    negatives = pool[hardest[is_violating]]
    found = Tuple(query, positive, negatives) if len(negatives) else None
    return Mined(found, pool[hardest])


def random_negatives(allowed: Candidates, query: int, rules: MiningRules, epoch: int) -> np.ndarray:
    """Distinct random rows that are not near the query, rising; all where there are fewer."""
    near = allowed.near.of(query)
    available = allowed.database_size - len(near)
    generator = np.random.default_rng([rules.seed, epoch, query])
    picks = generator.choice(available, min(rules.pool, available), replace=False)
    # the i-th row that is not near: shift past the near rows before it
    return np.sort(picks + np.searchsorted(near - np.arange(len(near)), picks, side="right"))


def _nearest_positive(
    query: int, descriptor: np.ndarray, database: np.ndarray, allowed: Candidates
) -> tuple[int, float]:
    rows = allowed.positives.of(query)
    distances = _distances(descriptor, database[rows])
    best = int(np.argmin(distances))
    return int(rows[best]), float(distances[best])


def _violates(to_negatives: np.ndarray, to_positive: float, rules: MiningRules) -> np.ndarray:
    power = 2 if rules.distance == "squared" else 1
    margin = margin_for(rules.margin, rules.distance)
    return to_negatives**power < to_positive**power + margin


def _distances(one: np.ndarray, many: np.ndarray) -> np.ndarray:
    offsets = many - one
    return np.sqrt(np.einsum("nd,nd->n", offsets, offsets))
