"""Exact nearest neighbours by Faiss, block by block, so that no set need fit into memory."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import faiss
import numpy as np

from vprlib.descriptors.rows import Reader, Rows, squared_between, squared_lengths
from vprlib.pipeline.progress import progress

PROGRAM = 2**28  # bytes of memory that are not for vectors: Python, libraries, their buffers
BLOCK = 2**26  # bytes of the database at once: each is searched anew, but new memory is slow
BYTES_A_NEIGHBOR = 128  # while blocks are merged, sorted and judged
SPARE = 12  # neighbours looked at beyond those asked for, where none are known yet
WIDER = 4  # times as many, where those did not do
FEW = 256  # queries that are looked at again together
# Faiss's squared distance is off by less than this × (8 + √D) × (|q|² + |d|²): twenty times the
# largest error seen, over random, positive, sparse and constant vectors of up to 32,768 dimensions
ROUNDING = 2.0**-22


@dataclass(frozen=True)
class Neighbors:
    rows: np.ndarray  # [Q, K] of the database, nearest first, equal distances by row; -1: no more
    distances: np.ndarray  # [Q, K] Euclidean, float32; infinite where there are no more

    def of(self, query: int) -> list[tuple[int, float]]:
        """Row and distance of each neighbour that was found."""
        found = zip(self.rows[query].tolist(), self.distances[query].tolist(), strict=True)
        return [(row, distance) for row, distance in found if row >= 0]


class SearchParts(Protocol):
    """Finds `count` database rows a query, so many queries at a time as the memory allows."""

    def __call__(
        self,
        queries: Rows,
        database: Rows,
        count: int,
        memory_bytes: int,
        threads: int,
        excluded: np.ndarray | None = None,
    ) -> Iterator[tuple[slice, Neighbors]]: ...


def search(
    queries: Rows,
    database: Rows,
    count: int,
    memory_bytes: int,
    threads: int,
    excluded: np.ndarray | None = None,
) -> Neighbors:
    """The `count` nearest database rows of each query, or all where there are fewer.

    Rows of the database that are `excluded` are never found.
    """
    parts = search_parts(queries, database, count, memory_bytes, threads, excluded)
    return collected((found for _, found in parts), min(count, database.shape[0]))


def collected(parts: Iterable[Neighbors], count: int) -> Neighbors:
    """The neighbours of all queries; `count` is how many there are of none."""
    found = list(parts) or [Neighbors(np.zeros((0, count), np.int64), np.zeros((0, count), "f4"))]
    rows, distances = ([getattr(f, name) for f in found] for name in ("rows", "distances"))
    return Neighbors(np.concatenate(rows), np.concatenate(distances))


def search_parts(
    queries: Rows,
    database: Rows,
    count: int,
    memory_bytes: int,
    threads: int,
    excluded: np.ndarray | None = None,
) -> Iterator[tuple[slice, Neighbors]]:
    """As `search`, as many queries at a time as fit the memory; each time reads the database."""
    faiss.omp_set_num_threads(threads)
    (asked, dim), left = queries.shape, room(memory_bytes)
    few = at_once(asked, 4 * dim + BYTES_A_NEIGHBOR * min(count, database.shape[0]), left)
    resident = Reader(queries, few)
    for_block = min(BLOCK, left - resident.size * 4 * dim)
    stored = Reader(database, max(1024, for_block // (4 * dim)), excluded)
    steps = len(resident.blocks()) * len(stored.blocks())
    bar = progress(range(steps), steps, "searching", "block")
    for start in resident.blocks():
        nearest = Nearest(resident.block(start), min(count, stored.count))
        for begin in stored.blocks():
            next(bar)
            nearest.look_at(stored, begin)
        yield slice(start, min(start + few, asked)), nearest.found()


def room(memory_bytes: int) -> int:
    """What of the budget is for vectors."""
    return max(memory_bytes - PROGRAM, memory_bytes // 2)


def at_once(queries: int, bytes_each: int, memory_bytes: int) -> int:
    """How many queries go together: equal parts, that none of them reads for a few alone."""
    most = max(64, 3 * memory_bytes // 4 // bytes_each)
    return math.ceil(queries / max(1, math.ceil(queries / most))) or 1


class Nearest:
    """The nearest rows to each query [q, D] of those looked at so far.

    Faiss proposes a few more rows than are asked for, by distances that rounding blurs; those that
    may be among the nearest are measured from differences. Where a row that was not proposed might
    be nearer than the last one kept, more are.
    """

    def __init__(self, queries: np.ndarray, count: int) -> None:
        self.queries, self.count = queries, count
        self.lengths = squared_lengths(queries)
        self.rows = np.full((len(queries), count), -1, np.int64)
        self.squared = np.full((len(queries), count), np.inf, np.float32)

    def found(self) -> Neighbors:
        return Neighbors(self.rows, np.sqrt(self.squared))

    def look_at(self, stored: Reader, start: int) -> None:
        """At one block of the database."""
        if not self.count:
            return
        vectors = stored.block(start)
        reach = ROUNDING * (8 + math.sqrt(vectors.shape[1]))
        slack = reach * (self.lengths + squared_lengths(vectors).max())
        wide = self.count + (SPARE if np.isinf(self.squared[:, -1]).any() else 0)
        doubtful = self._look(slice(None), vectors, stored, start, slack, wide)
        while len(doubtful):
            wide *= WIDER
            parts = [doubtful[at : at + FEW] for at in range(0, len(doubtful), FEW)]
            doubtful = np.concatenate(
                [self._look(part, vectors, stored, start, slack[part], wide) for part in parts]
            )

    def _look(
        self,
        which: slice | np.ndarray,
        vectors: np.ndarray,
        stored: Reader,
        start: int,
        slack: np.ndarray,
        wide: int,
    ) -> np.ndarray:
        """Takes in the nearest of the block; gives the queries that need to see more of it."""
        queries, rows, squared = self.queries[which], self.rows[which], self.squared[which]
        near, places = _proposed(queries, vectors, wide)
        last = squared[:, -1]
        if near.shape[1] >= self.count:
            last = np.minimum(last, near[:, self.count - 1] + slack)
        hopeful = near <= (last + slack)[:, None]  # the first so many, since `near` rises
        columns = int(hopeful.sum(axis=1).max(initial=0))
        hopeful, places = hopeful[:, :columns], places[:, :columns]
        near_squared = _measured(queries, vectors, places, hopeful)
        near_rows = np.where(hopeful, stored.numbers(start, places), -1)
        some = np.flatnonzero(hopeful.any(axis=1))
        rows, squared = rows.copy(), squared.copy()
        rows[some], squared[some] = nearest_first(
            np.concatenate([rows[some], near_rows[some]], axis=1),
            np.concatenate([squared[some], near_squared[some]], axis=1),
            self.count,
        )
        is_sure = np.ones(len(queries), bool)
        if near.shape[1] < len(vectors):
            is_sure = near[:, -1] - slack > squared[:, -1]
        numbers = np.arange(len(self.queries))[which]
        self.rows[numbers[is_sure]] = rows[is_sure]
        self.squared[numbers[is_sure]] = squared[is_sure]
        return numbers[~is_sure]


def _proposed(queries: np.ndarray, vectors: np.ndarray, wide: int) -> tuple[np.ndarray, np.ndarray]:
    """Blurred squared distances [q, wide], rising, and places in the block."""
    if wide < len(vectors):
        return faiss.knn(queries, vectors, wide)
    places = np.broadcast_to(np.arange(len(vectors)), (len(queries), len(vectors)))
    return np.full(places.shape, -np.inf, np.float32), places


def _measured(
    queries: np.ndarray, vectors: np.ndarray, places: np.ndarray, wanted: np.ndarray
) -> np.ndarray:
    """True squared distances of the pairs wanted [q, k], infinite elsewhere."""
    squared = np.full(places.shape, np.inf, np.float32)
    squared[wanted] = squared_between(queries, np.nonzero(wanted)[0], vectors, places[wanted])
    return squared


def nearest_first(
    rows: np.ndarray, squared: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """The `count` nearest [q, count], equal ones by row."""
    before, after = squared[:, :-1], squared[:, 1:]
    is_sorted = (before < after) | ((before == after) & (rows[:, :-1] < rows[:, 1:]))
    mixed = np.flatnonzero(~is_sorted.all(axis=1))
    order = np.lexsort((rows[mixed], squared[mixed]), axis=1)[:, :count]
    found = []
    for values in (rows, squared):
        first = values[:, :count].copy()
        first[mixed] = np.take_along_axis(values[mixed], order, axis=1)
        found.append(first)
    return found[0], found[1]
