"""Searches the database through a Faiss index on disk."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import faiss
import numpy as np

from vprlib.descriptors.rows import Reader, Rows, gather, squared_between
from vprlib.descriptors.settings import SearchSettings
from vprlib.pipeline.json_files import damaged
from vprlib.pipeline.params import UserError
from vprlib.pipeline.paths import existing
from vprlib.pipeline.progress import progress
from vprlib.search.exact import nearest_first
from vprlib.search.faiss_factory import inner_index, selecting, set_parameters, takes_selector
from vprlib.search.hamming import search_parts
from vprlib.search.lists import INDEX, open_lists
from vprlib.search.request import (
    BYTES_PER_NEIGHBOR,
    Neighbors,
    Searcher,
    SearchRequest,
    vector_bytes,
)

# fewer allowed rows are searched exactly: as fast as an index, which would miss some of them
FEW_ROWS = 5_000
FEW_OF_GRAPH = 0.05  # and a smaller share of a graph, which meets too few of them on its way


def searcher(path: Path, settings: SearchSettings | None) -> Searcher:
    """How a code is searched: exactly where it has no index."""
    return search_parts if settings is None else Approximate(path, settings)


@dataclass(frozen=True)
class Approximate:
    """A searcher that uses an index on disk; the index stays open after the first search."""

    path: Path
    settings: SearchSettings

    def __call__(self, request: SearchRequest) -> Iterator[tuple[slice, Neighbors]]:
        if request.among is not None and self._is_searched_exactly(request.among):
            yield from search_parts(request)
            return
        faiss.omp_set_num_threads(request.threads)
        self._check_memory(request.memory_bytes)
        memory, dim = vector_bytes(request.memory_bytes), request.queries.shape[1]
        stored = Reader(request.database, 1, request.excluded)
        self._check_rows(stored.count, request.database)
        allowed, parameters = stored.count, None
        if request.among is not None:
            is_allowed = np.isin(stored.numbers(0, np.arange(stored.count)), request.among)
            allowed, parameters = int(is_allowed.sum()), selecting(self._index, is_allowed)
        count = min(request.count, allowed)
        candidates = min(allowed, count * max(1, self.settings.refine))
        # a quarter for the queries and their neighbors, a quarter for the vectors of refining
        size = request.queries_at_once(4 * dim + BYTES_PER_NEIGHBOR * candidates, memory // 3)
        reader = Reader(request.queries, size)
        for start in progress(reader.blocks(), len(reader.blocks()), "searching", "block"):
            vectors = reader.block(start)
            squared, places = self._index.search(vectors, candidates, params=parameters)
            if places.max(initial=-1) >= stored.count:
                raise damaged(self.path, "it has rows that the database lacks")
            rows, squared = stored.numbers(0, places), np.maximum(squared, 0)
            missing = places < 0
            rows[missing], squared[missing] = -1, np.inf
            if self.settings.refine:
                squared = _true_distances(vectors, rows, request.database, memory // 4)
            rows, squared = nearest_first(rows, squared, count)
            yield slice(start, start + len(vectors)), Neighbors(rows, np.sqrt(squared))

    def _is_searched_exactly(self, among: np.ndarray) -> bool:
        if len(among) < FEW_ROWS or not takes_selector(self._index):
            return True
        is_graph = isinstance(inner_index(self._index), faiss.IndexHNSW)
        return is_graph and len(among) < FEW_OF_GRAPH * self._index.ntotal

    @cached_property
    def _index(self) -> faiss.Index:
        index = open_lists(self.path)
        set_parameters(index, self.settings)
        return index

    def _check_memory(self, memory_bytes: int) -> None:
        size = existing(self.path / INDEX).stat().st_size
        if size > vector_bytes(memory_bytes) // 2:
            raise UserError(
                f"{self.path / INDEX} takes {size / 2**30:.1f} GiB of memory to search, more"
                f" than half of runtime.memory_gib ({memory_bytes / 2**30:.1f}): raise it, or take"
                " an IVF… with Flat, PQ or SQ, whose lists stay on disk."
            )

    def _check_rows(self, count: int, database: Rows) -> None:
        if (self._index.ntotal, self._index.d) != (count, database.shape[1]):
            raise UserError(
                f"{self.path} has {self._index.ntotal} descriptors of {self._index.d} dimensions,"
                f" but the database has {count} of {database.shape[1]} dimensions: run"
                " `dvc repro encode`."
            )


def _true_distances(
    queries: np.ndarray, rows: np.ndarray, database: Rows, memory_bytes: int
) -> np.ndarray:
    """Squared distances to the stored descriptors of these rows [q, k]; infinite where -1."""
    squared = np.full(rows.shape, np.inf, np.float32)
    size = max(1, memory_bytes // (4 * database.shape[1] * max(1, rows.shape[1])))
    for start in range(0, len(queries), size):
        part = rows[start : start + size]
        which, columns = np.nonzero(part >= 0)
        numbers, places = np.unique(part[which, columns], return_inverse=True)
        vectors = gather(database, numbers)
        squared[start + which, columns] = squared_between(queries, start + which, vectors, places)
    return squared
