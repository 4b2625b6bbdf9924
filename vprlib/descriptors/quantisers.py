"""Quantises vectors: rounded numbers, product quantisation, or sign bits."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import faiss
import numpy as np

from vprlib.descriptors.rows import Rows, mapped, squared_lengths
from vprlib.pipeline.arrays import LARGEST
from vprlib.pipeline.params import UserError

Precision = Literal["float32", "float16", "int8", "pq", "binary"]
WORDS = 256  # per part in product quantisation, so that a code is one byte
LEAST_STEP = np.finfo(np.float32).tiny  # of int8, if the whole sample is zero


@dataclass(frozen=True)
class Quantiser:
    """Encodes vectors [n, d] as codes [n, w], and decodes them again.

    int8: whole numbers from −127 to 127 with one scale; larger values are clipped.
    pq: for each of M equal parts the nearest of 256 words (Jégou et al., 2011).
    binary: one bit per dimension, decoded to ±1/√d.
    """

    precision: Precision
    dim: int
    # int8: scale []; pq: words [M, 256, d/M]
    learnt: Mapping[str, np.ndarray] = field(default_factory=dict)

    def encode(self, vectors: np.ndarray) -> np.ndarray:
        if self.precision == "int8":
            steps = np.rint(vectors / self.learnt["scale"])
            return steps.clip(-LARGEST, LARGEST).astype(np.int8)
        if self.precision == "pq":
            words = self.learnt["words"]
            quantiser = faiss.ProductQuantizer(self.dim, len(words), 8)
            faiss.copy_array_to_vector(words.ravel(), quantiser.centroids)
            return quantiser.compute_codes(np.ascontiguousarray(vectors, np.float32))
        if self.precision == "binary":
            return np.packbits(vectors > 0, axis=1)
        return vectors.astype(self.precision)

    def decode(self, codes: np.ndarray) -> np.ndarray:
        if self.precision == "int8":
            return codes * self.learnt["scale"]
        if self.precision == "pq":
            words = self.learnt["words"]
            return words[np.arange(len(words)), codes].reshape(len(codes), self.dim)
        if self.precision == "binary":
            bits = np.unpackbits(codes, axis=1, count=self.dim).astype(np.float32)
            return (2 * bits - 1) / np.float32(self.dim**0.5)
        return codes.astype(np.float32)


@dataclass(frozen=True)
class Coded:
    """Codes [N, w] that are read as decoded vectors [N, d]."""

    codes: Rows
    quantiser: Quantiser

    @property
    def shape(self) -> tuple[int, int]:
        return len(self), self.quantiser.dim

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(np.float32)

    def __len__(self) -> int:
        return self.codes.shape[0]

    def __getitem__(self, rows: int | slice | np.ndarray) -> np.ndarray:
        if isinstance(rows, int):
            return self[rows : rows + 1][0]
        # HDF5 itself is slow for many rows
        found = mapped(self.codes) if isinstance(rows, np.ndarray) else None
        return self.quantiser.decode((self.codes if found is None else found)[rows])


def bytes_a_row(rows: Rows | Coded) -> int:
    """Stored bytes per vector."""
    stored = rows.codes if isinstance(rows, Coded) else rows
    return stored.shape[1] * stored.dtype.itemsize


def learn(
    precision: Precision, sample: Iterable[np.ndarray], parts: int | None, seed: int, threads: int
) -> dict[str, np.ndarray]:
    """The parameters of a quantiser, from a sample in blocks [n, d]."""
    if precision == "int8":
        largest = max(np.abs(block).max() for block in sample)
        return {"scale": np.array(max(largest / LARGEST, LEAST_STEP), np.float32)}
    if precision != "pq":
        return {}
    faiss.omp_set_num_threads(threads)
    vectors, parts = np.concatenate([*sample]), int(parts or 0)
    count, dim = vectors.shape
    if count < WORDS:
        raise UserError(
            f"product quantisation needs at least {WORDS} descriptors to train on, but there are"
            f" {count}: take int8, or a larger training set."
        )
    quantiser = faiss.ProductQuantizer(dim, parts, 8)
    quantiser.cp.seed = seed
    quantiser.cp.min_points_per_centroid = 1  # else Faiss prints a warning
    vectors = np.ascontiguousarray(vectors, np.float32)
    squared_lengths(vectors)  # refuses what is not finite, which would end the process in Faiss
    quantiser.train(vectors)
    words = faiss.vector_to_array(quantiser.centroids)
    return {"words": words.reshape(parts, WORDS, dim // parts)}
