"""The input and the result of a search."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from vprlib.descriptors.rows import Rows

PROGRAM_BYTES = 2**28  # memory that is not for vectors: Python, libraries, their buffers
BLOCK_BYTES = 2**26  # of the database at once; larger blocks are not faster
BYTES_PER_NEIGHBOR = 128  # while blocks are merged, sorted and judged


@dataclass(frozen=True)
class SearchRequest:
    """Find the `count` nearest database rows of each query, or all where there are fewer."""

    queries: Rows
    database: Rows
    count: int
    memory_bytes: int
    threads: int
    excluded: np.ndarray | None = None  # database rows that are never found; no index has them
    among: np.ndarray | None = None  # the only database rows that may be found; None: all

    def queries_at_once(self, bytes_each: int, memory_bytes: int) -> int:
        """Queries per block: blocks of equal size, so that none reads the database for a few."""
        queries = self.queries.shape[0]
        most = max(64, 3 * memory_bytes // 4 // bytes_each)
        return math.ceil(queries / max(1, math.ceil(queries / most))) or 1


@dataclass(frozen=True)
class Neighbors:
    rows: np.ndarray  # [Q, K] of the database, nearest first, equal distances by row; -1: no more
    distances: np.ndarray  # [Q, K] Euclidean, float32; infinite where there are no more

    def of(self, query: int) -> list[tuple[int, float]]:
        """Row and distance of each neighbor that was found."""
        found = zip(self.rows[query].tolist(), self.distances[query].tolist(), strict=True)
        return [(row, distance) for row, distance in found if row >= 0]


# gives the neighbors of some queries at a time, as many as the memory allows
Searcher = Callable[[SearchRequest], Iterator[tuple[slice, Neighbors]]]


def collect(searcher: Searcher, request: SearchRequest) -> Neighbors:
    """The neighbors of all queries, as many columns whatever rows are left out."""
    shape = request.queries.shape[0], min(request.count, request.database.shape[0])
    found = no_neighbors(shape)
    for part, near in searcher(request):
        columns = near.rows.shape[1]
        found.rows[part, :columns] = near.rows
        found.distances[part, :columns] = near.distances
    return found


def no_neighbors(shape: tuple[int, int]) -> Neighbors:
    return Neighbors(np.full(shape, -1, np.int64), np.full(shape, np.inf, np.float32))


def vector_bytes(memory_bytes: int) -> int:
    """The part of the memory budget that vectors may take."""
    return max(memory_bytes - PROGRAM_BYTES, memory_bytes // 2)
