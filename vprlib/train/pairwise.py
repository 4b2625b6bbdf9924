"""Squared distances of all pairs by matrix products, reading the database in blocks."""

import numpy as np
import torch
from torch import Tensor

from vprlib.pipeline.arrays import forget

STRETCH = 2**18  # numbers squared at once


def squared_distances(
    queries: np.ndarray,
    database: np.ndarray,
    rows: np.ndarray,
    device: torch.device,
    block_bytes: int,
) -> np.ndarray:
    """|q|² + |d|² − 2 q·d [q, R] of queries [q, D] and these rows of the database [N, D].

    For unit vectors the error is a few 1e-6. Neither the rows of a block nor their distances
    exceed `block_bytes`.
    """
    one = torch.from_numpy(np.ascontiguousarray(queries)).to(device)
    squares = _squares(one)[:, None]
    found = np.empty((len(queries), len(rows)), np.float32)
    size = max(1, block_bytes // (4 * max(1, len(queries), database.shape[1])))
    for start in range(0, len(rows), size):
        other = _read(database, rows[start : start + size]).to(device)
        block = torch.addmm(_squares(other), one, other.T, alpha=-2).add_(squares).clamp_(min=0)
        found[:, start : start + size] = block.cpu().numpy()
        forget(database)
    return found


def _read(database: np.ndarray, rows: np.ndarray) -> Tensor:
    """Rows of the database; consecutive ones are not copied."""
    if (np.diff(rows) == 1).all():
        return torch.from_numpy(np.ascontiguousarray(database[rows[0] : rows[-1] + 1]))
    return torch.from_numpy(np.asarray(database[rows]))


def _squares(vectors: Tensor) -> Tensor:
    """|v|² of each row [R], a few rows at a time in one buffer: allocating memory is slow."""
    few = max(1, STRETCH // max(1, vectors.shape[1]))
    buffer, parts = torch.empty_like(vectors[:few]), vectors.split(few)
    return torch.cat([torch.square(p, out=buffer[: len(p)]).sum(dim=1) for p in parts])


def nearest(
    queries: np.ndarray, database: np.ndarray, count: int, device: torch.device, memory_bytes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rows and squared distances [q, K] of the nearest database images, nearest first.

    Ties are ordered by row; K is `count`, or the size of a smaller database.
    """
    everything, count = np.arange(len(database)), min(count, len(database))
    size = max(1, memory_bytes // 4 // (4 * max(1, len(database))))
    none: list[np.ndarray] = [np.zeros((0, count), np.int64), np.zeros((0, count), np.float32)]
    parts = [none]
    for start in range(0, len(queries), size):
        some = queries[start : start + size]
        squared = squared_distances(some, database, everything, device, memory_bytes // 4)
        rows = np.argpartition(squared, count - 1, axis=1)[:, :count]
        near = np.take_along_axis(squared, rows, axis=1)
        order = np.lexsort((rows, near), axis=1)
        parts.append([np.take_along_axis(v, order, axis=1) for v in (rows, near)])
    rows, squared = (np.concatenate(values) for values in zip(*parts, strict=True))
    return rows, squared
