"""Exact nearest neighbours of what a code keeps: of sign bits, by how many of them differ."""

from collections.abc import Iterator

import faiss
import numpy as np

from vprlib.descriptors.quantisers import Coded
from vprlib.descriptors.rows import Rows
from vprlib.search import exact as floats
from vprlib.search.exact import BLOCK, BYTES_A_NEIGHBOR, Neighbors, at_once, room


def search_parts(
    queries: Rows,
    database: Rows,
    count: int,
    memory_bytes: int,
    threads: int,
    excluded: np.ndarray | None = None,
) -> Iterator[tuple[slice, Neighbors]]:
    """As `search.search_parts`; bits on both sides are counted, and no vector is made of them.

    Distances are those of what the bits stand for, ±1/√d: their square is 4/d a bit that differs.
    """
    if not (_is_bits(queries) and _is_bits(database)):
        yield from floats.search_parts(queries, database, count, memory_bytes, threads, excluded)
        return
    faiss.omp_set_num_threads(threads)
    is_kept = np.ones(len(database), bool)
    is_kept[[] if excluded is None else excluded] = False
    count, left = min(count, int(is_kept.sum())), room(memory_bytes)
    width = database.codes.shape[1]
    few = at_once(len(queries), width + BYTES_A_NEIGHBOR * count, left)
    block = max(1024, min(BLOCK, left // 4) // width)
    for start in range(0, len(queries), few):
        part = slice(start, min(start + few, len(queries)))
        rows, differing = _nearest(queries.codes[part], database.codes, is_kept, count, block)
        squared = differing * (4 / database.quantiser.dim)
        yield part, Neighbors(rows, np.sqrt(squared, dtype=np.float32))


def _is_bits(rows: Rows) -> bool:
    return isinstance(rows, Coded) and rows.quantiser.precision == "binary"


def _nearest(
    queries: np.ndarray, database: Rows, is_kept: np.ndarray, count: int, block: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rows and differing bits [q, count], merged over the blocks of the database."""
    rows = np.zeros((len(queries), 0), np.int64)
    differing = np.zeros((len(queries), 0), np.int32)
    for start in range(0, len(is_kept), block):
        numbers = start + np.flatnonzero(is_kept[start : start + block])
        if not count or not len(numbers):
            continue
        codes = np.ascontiguousarray(database[start : start + block][numbers - start])
        found, where = faiss.knn_hamming(queries, codes, min(count, len(codes)))
        rows = np.concatenate([rows, numbers[where]], axis=1)
        differing = np.concatenate([differing, found], axis=1)
        order = np.lexsort((rows, differing), axis=1)[:, :count]
        rows = np.take_along_axis(rows, order, axis=1)
        differing = np.take_along_axis(differing, order, axis=1)
    return rows, differing
