"""Exact nearest neighbours of what a code keeps: of sign bits, by how many of them differ."""

from collections.abc import Iterator

import faiss
import numpy as np

from vprlib import search as floats
from vprlib.quantisers import Coded
from vprlib.search import BYTES_A_NEIGHBOR, Neighbors, Rows


def search_parts(
    queries: Rows, database: Rows, count: int, memory_bytes: int, threads: int
) -> Iterator[tuple[slice, Neighbors]]:
    """As `search.search_parts`; bits on both sides are counted, and no vector is made of them.

    Distances are those of what the bits stand for, ±1/√d: their square is 4/d a bit that differs.
    """
    if not (_is_bits(queries) and _is_bits(database)):
        yield from floats.search_parts(queries, database, count, memory_bytes, threads)
        return
    faiss.omp_set_num_threads(threads)
    count = min(count, len(database))
    few = max(1, memory_bytes // 2 // (BYTES_A_NEIGHBOR * max(1, count)))
    block = max(1024, memory_bytes // 4 // database.codes.shape[1])
    for start in range(0, len(queries), few):
        part = slice(start, min(start + few, len(queries)))
        rows, differing = _nearest(queries.codes[part], database.codes, count, block)
        squared = differing * (4 / database.quantiser.dim)
        yield part, Neighbors(rows, np.sqrt(squared, dtype=np.float32))


def search(queries: Rows, database: Rows, count: int, memory_bytes: int, threads: int) -> Neighbors:
    """The neighbours of all queries at once."""
    parts = [found for _, found in search_parts(queries, database, count, memory_bytes, threads)]
    rows, distances = ([getattr(p, name) for p in parts] for name in ("rows", "distances"))
    return Neighbors(np.concatenate(rows), np.concatenate(distances))


def _is_bits(rows: Rows) -> bool:
    return isinstance(rows, Coded) and rows.quantiser.precision == "binary"


def _nearest(
    queries: np.ndarray, database: Rows, count: int, block: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rows and differing bits [q, count], merged over the blocks of the database."""
    rows = np.zeros((len(queries), 0), np.int64)
    differing = np.zeros((len(queries), 0), np.int32)
    for start in range(0, database.shape[0], block):
        codes = database[start : start + block]
        found, where = faiss.knn_hamming(queries, codes, min(count, len(codes)))
        rows = np.concatenate([rows, where + start], axis=1)
        differing = np.concatenate([differing, found], axis=1)
        order = np.lexsort((rows, differing), axis=1)[:, :count]
        rows = np.take_along_axis(rows, order, axis=1)
        differing = np.take_along_axis(differing, order, axis=1)
    return rows, differing
