"""Exact nearest neighbors of sign bits, by the number of bits that differ."""

from collections.abc import Iterator
from typing import TypeGuard

import faiss
import numpy as np

from vprlib.descriptors.quantisers import Coded
from vprlib.descriptors.rows import Rows, RowSubset, kept_rows
from vprlib.search import exact
from vprlib.search.request import (
    BLOCK_BYTES,
    BYTES_PER_NEIGHBOR,
    Neighbors,
    SearchRequest,
    vector_bytes,
)


def search_parts(request: SearchRequest) -> Iterator[tuple[slice, Neighbors]]:
    """Counts differing bits where both sides are bits; otherwise as `exact.search_parts`.

    A bit stands for ±1/√d, so the squared distance is 4/d for each bit that differs.
    """
    queries, database = request.queries, request.database
    if not (_is_bits(queries) and _is_bits(database)):
        yield from exact.search_parts(request)
        return
    faiss.omp_set_num_threads(request.threads)
    kept = kept_rows(len(database), request.excluded, request.among)
    codes = database.codes if kept is None else RowSubset(database.codes, kept)
    count, memory = min(request.count, codes.shape[0]), vector_bytes(request.memory_bytes)
    width = database.codes.shape[1]
    size = request.queries_at_once(width + BYTES_PER_NEIGHBOR * count, memory)
    block = max(1024, min(BLOCK_BYTES, memory // 4) // width)
    for start in range(0, len(queries), size):
        part = slice(start, min(start + size, len(queries)))
        rows, differing = _nearest(queries.codes[part], codes, count, block)
        rows = rows if kept is None else kept[rows]
        squared = differing * (4 / database.quantiser.dim)
        yield part, Neighbors(rows, np.sqrt(squared, dtype=np.float32))


def _is_bits(rows: Rows) -> TypeGuard[Coded]:
    return isinstance(rows, Coded) and rows.quantiser.precision == "binary"


def _nearest(
    queries: np.ndarray, database: Rows, count: int, block: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rows and differing bits [q, count], merged over the blocks of the database."""
    rows = np.zeros((len(queries), 0), np.int64)
    differing = np.zeros((len(queries), 0), np.int32)
    for start in range(0, database.shape[0] if count else 0, block):
        codes = np.ascontiguousarray(database[start : start + block])
        found, where = faiss.knn_hamming(queries, codes, min(count, len(codes)))
        rows, differing = exact.nearest_first(
            np.concatenate([rows, start + where], axis=1),
            np.concatenate([differing, found], axis=1),
            count,
        )
    return rows, differing
