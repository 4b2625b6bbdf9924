"""Which database images show the place of a query: those near it, or those on a list."""

from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np

from vprlib.geo import Pairs, count_within, pairs_within


class Truth(Protocol):
    """What a retrieved image is held against."""

    def is_right(self, rows: np.ndarray) -> np.ndarray:
        """Whether each retrieved database row [Q, K] shows the place of its query."""
        ...

    def counts(self) -> np.ndarray:
        """How many database images show the place of each query [Q]."""
        ...

    def positives(self) -> Pairs:
        """The database images that show the place of each query."""
        ...

    def no_negatives(self) -> Pairs:
        """Those that cannot count as wrong: the positives, and what is in doubt."""
        ...

    def take(self, queries: np.ndarray) -> Self:
        """What is right for these queries alone, in this order."""
        ...

    @property
    def database_size(self) -> int: ...

    @property
    def radius_m(self) -> float | None: ...


@dataclass(frozen=True)
class Near:
    """Right is what lies within the radius, inclusive, of the query; positions in metres."""

    queries: np.ndarray  # [Q, 2] float64
    database: np.ndarray  # [D, 2]
    radius_m: float

    def is_right(self, rows: np.ndarray) -> np.ndarray:
        offsets = self.database[rows] - self.queries[:, None]  # Q K 2
        return np.einsum("qkd,qkd->qk", offsets, offsets) <= self.radius_m**2

    def counts(self) -> np.ndarray:
        return count_within(self.queries, self.database, self.radius_m)

    def positives(self) -> Pairs:
        return pairs_within(self.queries, self.database, self.radius_m)

    def no_negatives(self) -> Pairs:
        return self.positives()

    def take(self, queries: np.ndarray) -> "Near":
        return Near(self.queries[queries], self.database, self.radius_m)

    @property
    def database_size(self) -> int:
        return len(self.database)


@dataclass(frozen=True)
class Listed:
    """Right is what a specification without positions lists."""

    right: Pairs  # database rows that show the place of each query, rising
    doubtful: Pairs  # neither right nor wrong: no negative in training, left out of a ranking
    database_size: int
    radius_m: None = None

    def is_right(self, rows: np.ndarray) -> np.ndarray:
        return self.right.contain(rows)

    def is_doubtful(self, rows: np.ndarray) -> np.ndarray:
        return self.doubtful.contain(rows)

    def counts(self) -> np.ndarray:
        return self.right.counts()

    def positives(self) -> Pairs:
        return self.right

    def no_negatives(self) -> Pairs:
        return self.right.joined(self.doubtful)

    def take(self, queries: np.ndarray) -> "Listed":
        return Listed(self.right.take(queries), self.doubtful.take(queries), self.database_size)
