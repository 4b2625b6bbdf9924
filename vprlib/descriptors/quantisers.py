"""How many bits of a vector are kept: rounded numbers, product quantisation, or signs alone."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import faiss
import numpy as np

from vprlib.descriptors.rows import Rows, mapped
from vprlib.pipeline.params import UserError

Precision = Literal["float32", "float16", "int8", "pq", "binary"]
LARGEST = 127  # of int8, either way
WORDS = 256  # of each part in product quantisation, so that one takes a byte
LEAST_STEP = np.finfo(np.float32).tiny  # of int8, where all that it learnt from is zero


@dataclass(frozen=True)
class Quantiser:
    """Makes codes [n, w] of vectors [n, d], and of codes the vectors that they stand for.

    int8: whole numbers from −127 to 127, all of one scale; what lies beyond is cut off.
    pq: for each of M equal parts the nearest of 256 words (Jégou et al., 2011).
    binary: a bit a dimension, which stands for ±1/√d.
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
    """Codes [N, w], read as the vectors [N, d] that they stand for."""

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
        source = self.codes
        if isinstance(rows, np.ndarray):  # of which HDF5 itself would take long over many
            found = mapped(self.codes)
            source = self.codes if found is None else found
        return self.quantiser.decode(source[rows])


def bytes_a_row(rows: Rows | Coded) -> int:
    """What is stored of one vector."""
    stored = rows.codes if isinstance(rows, Coded) else rows
    return stored.shape[1] * stored.dtype.itemsize


def stored_bytes(precision: Precision, dim: int, parts: int | None = None) -> int:
    """Of one vector of so many dimensions; `parts` are those of product quantisation."""
    if precision == "pq":
        return int(parts or 0)
    return -(-dim // 8) if precision == "binary" else dim * np.dtype(precision).itemsize


def learn(
    precision: Precision, sample: Iterable[np.ndarray], parts: int | None, seed: int, threads: int
) -> dict[str, np.ndarray]:
    """What a precision needs to know, from sampled vectors that come in blocks [n, d]."""
    if precision == "int8":
        largest = max(np.abs(block).max() for block in sample)
        return {"scale": np.float32(max(largest / LARGEST, LEAST_STEP))}
    if precision == "pq":
        faiss.omp_set_num_threads(threads)
        return {"words": _words(np.concatenate([*sample]), int(parts or 0), seed)}
    return {}


def _words(sample: np.ndarray, parts: int, seed: int) -> np.ndarray:
    count, dim = sample.shape
    if count < WORDS:
        raise UserError(
            f"product quantisation learns {WORDS} words a part, but was given {count} descriptors"
            " to learn from: take int8, or a larger training set."
        )
    quantiser = faiss.ProductQuantizer(dim, parts, 8)
    quantiser.cp.seed = seed
    quantiser.cp.min_points_per_centroid = 1  # else Faiss prints that it would like more
    quantiser.train(np.ascontiguousarray(sample, np.float32))
    return faiss.vector_to_array(quantiser.centroids).reshape(parts, WORDS, dim // parts)
