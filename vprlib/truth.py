"""Which database images show the place of a query: those near it, or those on a list."""

from dataclasses import dataclass, replace
from typing import Protocol, Self

import numpy as np

from vprlib.geo import Pairs, count_within, pairs_within


class Truth(Protocol):
    """What a retrieved image is held against."""

    def is_right(self, rows: np.ndarray) -> np.ndarray:
        """Whether each retrieved database row [Q, K] shows the place of its query."""
        ...

    def is_doubtful(self, rows: np.ndarray) -> np.ndarray:
        """Whether each row is neither right nor wrong: it is taken out before anything counts."""
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

    def take(self, queries: np.ndarray | slice) -> Self:
        """The same for these queries alone, in this order."""
        ...

    @property
    def most_doubtful(self) -> int:
        """How many doubtful images a query has at most."""
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

    def is_doubtful(self, rows: np.ndarray) -> np.ndarray:
        return np.zeros(rows.shape, bool)

    def counts(self) -> np.ndarray:
        return count_within(self.queries, self.database, self.radius_m)

    def positives(self) -> Pairs:
        return pairs_within(self.queries, self.database, self.radius_m)

    def no_negatives(self) -> Pairs:
        return self.positives()

    def take(self, queries: np.ndarray | slice) -> Self:
        return replace(self, queries=self.queries[queries])

    @property
    def most_doubtful(self) -> int:
        return 0

    @property
    def database_size(self) -> int:
        return len(self.database)


@dataclass(frozen=True)
class Listed:
    """Right is what a specification without positions lists."""

    right: Pairs  # database rows that show the place of each query, rising
    doubtful: Pairs  # neither right nor wrong: no negative in training, taken out of a ranking
    training: Pairs  # positives in training, some of what is right or doubtful
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

    def take(self, queries: np.ndarray | slice) -> Self:
        lists = ("right", "doubtful", "training")
        return replace(self, **{name: getattr(self, name).take(queries) for name in lists})

    @property
    def most_doubtful(self) -> int:
        return int(self.doubtful.counts().max(initial=0))
