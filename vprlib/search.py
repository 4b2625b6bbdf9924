"""Exact nearest neighbours by Faiss, block by block, so that no set need fit into memory."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import faiss
import numpy as np

from vprlib.progress import progress

BYTES_A_NEIGHBOR = 128  # while blocks are merged, sorted and judged


class Rows(Protocol):
    """An array, a memmap or an HDF5 dataset [N, D]."""

    shape: tuple[int, ...]

    def __getitem__(self, rows: slice) -> np.ndarray: ...


@dataclass(frozen=True)
class Neighbors:
    rows: np.ndarray  # [Q, K] of the database, nearest first, equal distances by row
    distances: np.ndarray  # [Q, K] Euclidean, float32


def search(queries: Rows, database: Rows, count: int, memory_bytes: int, threads: int) -> Neighbors:
    """The `count` nearest database rows of each query, or all where there are fewer."""
    parts = [found for _, found in search_parts(queries, database, count, memory_bytes, threads)]
    if not parts:
        count = min(count, database.shape[0])
        return Neighbors(np.zeros((0, count), np.int64), np.zeros((0, count), np.float32))
    rows = np.concatenate([found.rows for found in parts])
    return Neighbors(rows, np.concatenate([found.distances for found in parts]))


def search_parts(
    queries: Rows, database: Rows, count: int, memory_bytes: int, threads: int
) -> Iterator[tuple[slice, Neighbors]]:
    """As `search`, so many queries at a time that their neighbours, too, fit the memory."""
    faiss.omp_set_num_threads(threads)
    count = min(count, database.shape[0])
    # a quarter of the budget for a block of each side; the rest is for Faiss and the reader
    block = max(1024, memory_bytes // 4 // (4 * database.shape[1]))
    few = min(block, max(1, memory_bytes // 4 // (BYTES_A_NEIGHBOR * max(1, count))))
    starts = range(0, queries.shape[0], few)
    for start in progress(starts, len(starts), "searching", "block"):
        part = slice(start, min(start + few, queries.shape[0]))
        rows, squared = _search_block(_floats(queries[part]), database, count, block)
        yield part, Neighbors(rows, np.sqrt(np.maximum(squared, 0)))


def _search_block(
    queries: np.ndarray, database: Rows, count: int, block: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rows and squared distances [q, count], merged over the blocks of the database."""
    rows = np.zeros((len(queries), 0), np.int64)
    squared = np.zeros((len(queries), 0), np.float32)
    for start in range(0, database.shape[0], block):
        part = _floats(database[start : start + block])
        _, where = faiss.knn(queries, part, min(count, len(part)))
        near = _squared(queries, part, where)
        rows = np.concatenate([rows, where + start], axis=1)
        squared = np.concatenate([squared, near], axis=1)
        order = np.lexsort((rows, squared), axis=1)[:, :count]
        rows = np.take_along_axis(rows, order, axis=1)
        squared = np.take_along_axis(squared, order, axis=1)
    return rows, squared


def _squared(queries: np.ndarray, database: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Squared distances to the rows found [q, k], from differences.

    Faiss takes |q|² + |d|² − 2 q·d for large blocks, which leaves 7e-4 between equal vectors.
    """
    found = np.empty(rows.shape, np.float32)
    for query, near in enumerate(rows):
        offsets = database[near] - queries[query]
        found[query] = np.einsum("kd,kd->k", offsets, offsets)
    return found


def _floats(block: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(block, dtype=np.float32)
