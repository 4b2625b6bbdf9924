"""Distances and neighborhoods of positions in metres, locations, and angles of headings."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from sklearn.neighbors import KDTree

BLOCK = 64  # positions that are looked up at once, so that memory stays small


@dataclass(frozen=True)
class Pairs:
    """For each query the sorted database rows that belong to it, all in one array."""

    starts: np.ndarray  # [Q + 1]
    rows: np.ndarray

    def of(self, query: int) -> np.ndarray:
        return self.rows[self.starts[query] : self.starts[query + 1]]

    def counts(self) -> np.ndarray:
        return np.diff(self.starts)

    def keep(self, mask: np.ndarray) -> "Pairs":
        """The pairs where `mask` is true; it has a value for each pair."""
        kept = np.concatenate([[0], np.cumsum(mask)])[self.starts]
        return Pairs(kept, self.rows[mask])

    def contain(self, rows: np.ndarray) -> np.ndarray:
        """Whether each of the rows [Q, K] belongs to its query."""
        size = max(self.rows.max(initial=0), rows.max(initial=0)) + 1
        return np.isin(np.arange(len(rows))[:, None] * size + rows, self._keys(size))

    def joined(self, other: "Pairs") -> "Pairs":
        """The pairs of both, each once."""
        size = max(self.rows.max(initial=0), other.rows.max(initial=0)) + 1
        keys = np.union1d(self._keys(size), other._keys(size))
        starts = np.searchsorted(keys, size * np.arange(len(self.starts)))
        return Pairs(starts, keys % size)

    def _keys(self, size: int) -> np.ndarray:
        """One rising number for each pair: query · size + row."""
        return self.queries() * size + self.rows

    def take(self, queries: np.ndarray | slice) -> "Pairs":
        """The pairs of these queries, numbered from 0 in their new order."""
        queries = np.arange(len(self.starts) - 1)[queries]
        counts = self.counts()[queries]
        starts = np.concatenate([[0], np.cumsum(counts)])
        shifts = np.repeat(self.starts[queries] - starts[:-1], counts)
        return Pairs(starts, self.rows[shifts + np.arange(starts[-1])])

    def queries(self) -> np.ndarray:
        """The query of each pair, parallel to `rows`."""
        return np.repeat(np.arange(len(self.starts) - 1), self.counts())


def _tree(positions: np.ndarray) -> "KDTree":
    from sklearn.neighbors import KDTree  # takes two seconds, and not every command needs it

    return KDTree(positions)


def pairs_of(rows: Sequence[np.ndarray]) -> Pairs:
    """The database rows of each query, from one rising array for each."""
    starts = np.concatenate([[0], np.cumsum([len(found) for found in rows])]).astype(np.int64)
    return Pairs(starts, np.concatenate([np.zeros(0, np.int64), *rows]))


def count_within(queries: np.ndarray, database: np.ndarray, radius_m: float) -> np.ndarray:
    """How many database positions lie within the radius, inclusive, of each query [Q]."""
    if not len(queries) or not len(database):
        return np.zeros(len(queries), dtype=np.int64)
    return _tree(database).query_radius(queries, radius_m, count_only=True)


def pairs_within(queries: np.ndarray, database: np.ndarray, radius_m: float) -> Pairs:
    """The database rows within the radius, inclusive, of each query."""
    if not len(queries) or not len(database):
        return Pairs(np.zeros(len(queries) + 1, np.int64), np.zeros(0, np.int64))
    found = _tree(database).query_radius(queries, radius_m)
    return pairs_of([np.sort(rows) for rows in found])


def pair_distances(pairs: Pairs, queries: np.ndarray, database: np.ndarray) -> np.ndarray:
    """Metres between the query and the database image of each pair."""
    return np.linalg.norm(queries[pairs.queries()] - database[pairs.rows], axis=1)


def chance_recall(positives: np.ndarray, allowed: np.ndarray | int) -> float:
    """R@1 of a random answer: the mean share that is right of the images that may be found."""
    return float(np.mean(positives / np.maximum(allowed, 1))) if len(positives) else 0.0


def locations(positions: np.ndarray, distance_m: float) -> np.ndarray:
    """The location of each position [N, 2], counted from 0, by greedy leader clustering.

    In order of rows, each joins the first leader within the distance, inclusive, or becomes a
    leader. Single linkage would chain a whole street into one location. Unknown positions (NaN) are
    locations of their own.
    """
    labels = np.full(len(positions), -1, np.int64)
    is_known = np.isfinite(positions).all(axis=1)
    known = waiting = np.flatnonzero(is_known)
    tree = _tree(positions[known]) if len(known) > BLOCK else None
    while len(waiting):
        block, waiting = waiting[:BLOCK], waiting[BLOCK:]
        if tree is None:  # the tree's library takes longer to load than a few distances
            apart = np.linalg.norm(positions[known] - positions[block, None], axis=2)
            near = [np.flatnonzero(row <= distance_m) for row in apart]
        else:
            near = tree.query_radius(positions[block], distance_m)
        for row, rows in zip(block.tolist(), near, strict=True):
            if labels[row] < 0:
                joined = known[rows]
                labels[joined[labels[joined] < 0]] = row
        waiting = waiting[labels[waiting] < 0]
    labels[~is_known] = np.flatnonzero(~is_known)
    return np.unique(labels, return_inverse=True)[1]


def nearest_m(positions: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Metres [N] to the nearest of the others; infinite where a position is unknown."""
    from scipy.spatial import cKDTree  # takes a moment

    metres = np.full(len(positions), np.inf)
    known, there = np.isfinite(positions).all(axis=1), np.isfinite(others).all(axis=1)
    if known.any() and there.any():
        metres[known] = cKDTree(others[there]).query(positions[known])[0]
    return metres


def apart_deg(headings: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The smaller angle between headings in degrees, 0 to 180."""
    return np.abs((headings - others + 180.0) % 360.0 - 180.0)
