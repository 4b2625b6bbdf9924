"""Positions on the plane in metres, float64: who is near whom, and how many places there are."""

from dataclasses import dataclass

import numpy as np
from sklearn.neighbors import KDTree


@dataclass(frozen=True)
class Pairs:
    """For each query the sorted database rows that belong to it, end to end in one array."""

    starts: np.ndarray  # [Q + 1]
    rows: np.ndarray

    def of(self, query: int) -> np.ndarray:
        return self.rows[self.starts[query] : self.starts[query + 1]]

    def counts(self) -> np.ndarray:
        return np.diff(self.starts)

    def keep(self, mask: np.ndarray) -> "Pairs":
        """The pairs where `mask`, one value a pair, is true."""
        kept = np.concatenate([[0], np.cumsum(mask)])[self.starts]
        return Pairs(kept, self.rows[mask])

    def contain(self, rows: np.ndarray) -> np.ndarray:
        """Whether each of the rows [Q, K] belongs to its query."""
        size = max(self.rows.max(initial=0), rows.max(initial=0)) + 1
        wanted = np.arange(len(rows))[:, None] * size + rows
        return np.isin(wanted, self._keys(size))

    def joined(self, other: "Pairs") -> "Pairs":
        """The pairs of both, each once."""
        size = max(self.rows.max(initial=0), other.rows.max(initial=0)) + 1
        keys = np.union1d(self._keys(size), other._keys(size))
        starts = np.searchsorted(keys, size * np.arange(len(self.starts)))
        return Pairs(starts, keys % size)

    def _keys(self, size: int) -> np.ndarray:
        """One number a pair, rising: query · size + row."""
        return self.queries() * size + self.rows

    def take(self, queries: np.ndarray) -> "Pairs":
        """The pairs of these queries, which count from 0 in their new order."""
        starts = np.concatenate([[0], np.cumsum(self.counts()[queries])])
        return Pairs(starts, np.concatenate([self.rows[:0], *(self.of(q) for q in queries)]))

    def queries(self) -> np.ndarray:
        """The query of each pair, beside `rows`."""
        return np.repeat(np.arange(len(self.starts) - 1), self.counts())


def count_within(queries: np.ndarray, database: np.ndarray, radius_m: float) -> np.ndarray:
    """How many database positions lie within the radius, inclusive, of each query [Q]."""
    if not len(queries) or not len(database):
        return np.zeros(len(queries), dtype=np.int64)
    return KDTree(database).query_radius(queries, radius_m, count_only=True)


def pairs_within(queries: np.ndarray, database: np.ndarray, radius_m: float) -> Pairs:
    """The database rows within the radius, inclusive, of each query."""
    if not len(queries) or not len(database):
        return Pairs(np.zeros(len(queries) + 1, np.int64), np.zeros(0, np.int64))
    found = KDTree(database).query_radius(queries, radius_m)
    starts = np.concatenate([[0], np.cumsum([len(rows) for rows in found])])
    return Pairs(starts, np.concatenate([np.sort(rows) for rows in found]))


def pair_distances(pairs: Pairs, queries: np.ndarray, database: np.ndarray) -> np.ndarray:
    """Metres between the query and the database image of each pair."""
    return np.linalg.norm(queries[pairs.queries()] - database[pairs.rows], axis=1)


def locations(positions: np.ndarray, distance_m: float = 1.0) -> np.ndarray:
    """A label a position by greedy leader clustering: the first leader within the distance.

    Single linkage would chain a whole street into one location; leaders do not.
    """
    labels = np.full(len(positions), -1, dtype=np.int64)
    tree = KDTree(positions) if len(positions) else None
    leaders = 0
    for row in range(len(positions)):
        if labels[row] >= 0:
            continue
        near = tree.query_radius(positions[row : row + 1], distance_m)[0]
        labels[near[labels[near] < 0]] = leaders
        leaders += 1
    return labels


def chance_recall(positives: np.ndarray, database_size: int) -> float:
    """R@1 of an answer drawn blindly: the mean share of the database that is right."""
    return float(np.mean(positives / database_size)) if len(positives) else 0.0
