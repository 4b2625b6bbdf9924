"""Exact nearest neighbors by Faiss, block by block, so that no set has to fit in memory."""

import math
from collections.abc import Iterator

import faiss
import numpy as np

from vprlib.descriptors.rows import Reader, squared_between, squared_lengths
from vprlib.pipeline.progress import progress
from vprlib.search.request import (
    BLOCK_BYTES,
    BYTES_PER_NEIGHBOR,
    Neighbors,
    SearchRequest,
    vector_bytes,
)

SPARE = 12  # more candidates than neighbors, while a query has too few neighbors
GROWTH = 4  # times as many candidates where those were not enough
QUERIES_AGAIN = 256  # queries that get more candidates together
# Faiss's squared distance is off by less than this × (8 + √D) × (|q|² + |d|²): twenty times the
# largest error seen, over random, positive, sparse and constant vectors of up to 32,768 dimensions
ROUNDING = 2.0**-22


def search_parts(request: SearchRequest) -> Iterator[tuple[slice, Neighbors]]:
    """As many queries at a time as fit in memory; the database is read once for each part."""
    faiss.omp_set_num_threads(request.threads)
    (queries, dim), memory = request.queries.shape, vector_bytes(request.memory_bytes)
    count = min(request.count, request.database.shape[0])
    size = request.queries_at_once(4 * dim + BYTES_PER_NEIGHBOR * count, memory)
    query_reader = Reader(request.queries, size)
    block_bytes = min(BLOCK_BYTES, memory - query_reader.size * 4 * dim)
    rows = max(1024, block_bytes // (4 * dim))
    reader = Reader(request.database, rows, request.excluded, request.among)
    steps = len(query_reader.blocks()) * len(reader.blocks())
    bar = progress(range(steps), steps, "searching", "block")
    for start in query_reader.blocks():
        nearest = Nearest(query_reader.block(start), min(count, reader.count))
        for begin in reader.blocks():
            next(bar)
            nearest.add_block(reader, begin)
        yield slice(start, min(start + size, queries)), nearest.neighbors()


class Nearest:
    """The nearest rows of each query [q, D] in the blocks added so far.

    Faiss proposes more candidates than needed, since its distances are rounded. Those that may be
    among the nearest are measured again from differences. Where a row beyond the candidates may be
    nearer than the last one kept, more candidates are taken.
    """

    def __init__(self, queries: np.ndarray, count: int) -> None:
        self.queries, self.count = queries, count
        self.lengths = squared_lengths(queries)
        self.rows = np.full((len(queries), count), -1, np.int64)
        self.squared = np.full((len(queries), count), np.inf, np.float32)

    def neighbors(self) -> Neighbors:
        return Neighbors(self.rows, np.sqrt(self.squared))

    def add_block(self, reader: Reader, start: int) -> None:
        """The block of the database that starts there."""
        if not self.count:
            return
        vectors = reader.block(start)
        rounding = ROUNDING * (8 + math.sqrt(vectors.shape[1]))
        slack = rounding * (self.lengths + squared_lengths(vectors).max())
        candidates = self.count + (SPARE if np.isinf(self.squared[:, -1]).any() else 0)
        unsure = self._add(slice(None), vectors, reader, start, slack, candidates)
        while len(unsure):
            candidates *= GROWTH
            parts = [unsure[i : i + QUERIES_AGAIN] for i in range(0, len(unsure), QUERIES_AGAIN)]
            unsure = np.concatenate(
                [self._add(part, vectors, reader, start, slack[part], candidates) for part in parts]
            )

    def _add(
        self,
        which: slice | np.ndarray,
        vectors: np.ndarray,
        reader: Reader,
        start: int,
        slack: np.ndarray,
        candidates: int,
    ) -> np.ndarray:
        """Merges the nearest of a block; returns the queries that need more candidates."""
        queries, rows, squared = self.queries[which], self.rows[which], self.squared[which]
        if candidates < len(vectors):
            near, places = faiss.knn(queries, vectors, candidates)  # rounded distances, rising
        else:
            places = np.broadcast_to(np.arange(len(vectors)), (len(queries), len(vectors)))
            near = np.full(places.shape, -np.inf, np.float32)
        last = squared[:, -1]
        if near.shape[1] >= self.count:
            last = np.minimum(last, near[:, self.count - 1] + slack)
        is_possible = near <= (last + slack)[:, None]  # the first ones, since `near` rises
        columns = int(is_possible.sum(axis=1).max(initial=0))
        is_possible, places = is_possible[:, :columns], places[:, :columns]
        near_squared = np.full(places.shape, np.inf, np.float32)
        which_query, chosen = np.nonzero(is_possible)[0], places[is_possible]
        near_squared[is_possible] = squared_between(queries, which_query, vectors, chosen)
        near_rows = np.where(is_possible, reader.numbers(start, places), -1)
        changed = np.flatnonzero(is_possible.any(axis=1))
        rows, squared = rows.copy(), squared.copy()
        rows[changed], squared[changed] = nearest_first(
            np.concatenate([rows[changed], near_rows[changed]], axis=1),
            np.concatenate([squared[changed], near_squared[changed]], axis=1),
            self.count,
        )
        is_sure = np.ones(len(queries), bool)
        if near.shape[1] < len(vectors):
            is_sure = near[:, -1] - slack > squared[:, -1]
        numbers = np.arange(len(self.queries))[which]
        self.rows[numbers[is_sure]] = rows[is_sure]
        self.squared[numbers[is_sure]] = squared[is_sure]
        return numbers[~is_sure]


def nearest_first(
    rows: np.ndarray, distances: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """The `count` nearest [q, count] by any kind of distance, equal ones by row."""
    before, after = distances[:, :-1], distances[:, 1:]
    is_sorted = (before < after) | ((before == after) & (rows[:, :-1] < rows[:, 1:]))
    mixed = np.flatnonzero(~is_sorted.all(axis=1))
    order = np.lexsort((rows[mixed], distances[mixed]), axis=1)[:, :count]
    found = []
    for values in (rows, distances):
        first = values[:, :count].copy()
        first[mixed] = np.take_along_axis(values[mixed], order, axis=1)
        found.append(first)
    return found[0], found[1]
