"""PCA whitening, fitted on a sample that may be larger than the memory."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from threadpoolctl import threadpool_limits

from vprlib.pipeline.params import UserError

EPSILON = 1e-9  # added to each eigenvalue before its root
# of the mean squared length; smaller variances are rounding errors of float32 networks
ROUNDING = 1e-12


class Rows(Protocol):
    """An array or an HDF5 dataset [n, D]."""

    shape: tuple[int, ...]

    def __getitem__(self, rows: slice | tuple[slice, slice]) -> np.ndarray: ...


@dataclass(frozen=True)
class Whitening:
    """y = diag(1/√(λ + ε)) Uᵀ (x − μ), largest variance first; fewer dimensions are the first."""

    mean: np.ndarray  # μ [D] float64
    projection: np.ndarray  # diag(1/√(λ + ε)) Uᵀ [d, D] float32
    eigenvalues: np.ndarray  # λ [d] float64, variances in the sample
    variance_ratio: np.ndarray  # [d] λ over the total variance of the sample


def to_unit_length(vectors: np.ndarray) -> np.ndarray:
    """Float32 vectors [n, d] of length one; zeros stay zeros."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.maximum(lengths, np.finfo(np.float32).tiny)


def fit(sample: Rows, dimensions: int, memory_bytes: int, threads: int) -> Whitening:
    """The `dimensions` directions of largest variance, or all above rounding errors.

    Sums are float64, over centred blocks: eigenvalues are right to about 1e-15 of the largest;
    float32's 1e-7 would hide the smallest of 4,096. Needs two matrices of min(n, D)² float64,
    1.6 GB at 10,000 samples, beside blocks of `memory_bytes`.
    """
    count, dim = sample.shape
    is_dual = dim > count  # n × n inner products have the same eigenvalues as D × D covariances
    with threadpool_limits(threads):
        mean, energy = _mean(sample, memory_bytes)
        values, vectors, total = _principal(
            _covariance(sample, mean, is_dual, memory_bytes), dimensions, ROUNDING * energy
        )
        if not len(values):
            raise UserError(
                f"whitening needs different descriptors, but all {count} of its sample are equal:"
                " add images of different places to the training set."
            )
        scales = 1 / np.sqrt(values + EPSILON)
        if is_dual:
            scales /= np.sqrt((count - 1) * values)
            # directions of descriptors from those of the sample's rows
            projection, vectors = np.empty((len(values), dim), np.float32), vectors * scales
            for part, block in _centred(sample, mean, True, memory_bytes):
                projection[:, part] = vectors.T @ block
        else:
            projection = np.ascontiguousarray((vectors * scales).T, np.float32)
    # the largest component of each row is positive, since the sign is arbitrary
    projection[projection.max(axis=1) < -projection.min(axis=1)] *= -1
    return Whitening(mean, projection, values, values / total)


def blocks(count: int, bytes_each: int, memory_bytes: int) -> Iterator[slice]:
    """Slices of 0 … count that take at most a quarter of the memory."""
    step = max(1, memory_bytes // 4 // bytes_each)
    return (slice(start, min(start + step, count)) for start in range(0, count, step))


def _mean(sample: Rows, memory_bytes: int) -> tuple[np.ndarray, float]:
    """Mean [D] and mean squared length, in one pass."""
    count, dim = sample.shape
    total, energy = np.zeros(dim), 0.0
    for part in blocks(count, 16 * dim, memory_bytes):
        rows = sample[part].astype(np.float64)
        total += rows.sum(axis=0)
        energy += float(np.einsum("nd,nd->", rows, rows))
    if not np.isfinite(energy):
        raise UserError(
            f"some of the {count} descriptors to fit whitening on are not finite:"
            " the network that made them is broken; train it again, or leave its variant out."
        )
    return total / count, energy / count


def _covariance(sample: Rows, mean: np.ndarray, is_dual: bool, memory_bytes: int) -> np.ndarray:
    """Covariances of columns [D, D] or of rows [n, n]; only the lower triangle."""
    from scipy.linalg.blas import dsyrk

    weight = 1 / max(1, sample.shape[0] - 1)
    size = min(sample.shape)
    found = np.zeros((size, size), order="F")
    for _, block in _centred(sample, mean, is_dual, memory_bytes):
        found = dsyrk(weight, block.T, 1.0, found, trans=int(is_dual), lower=1, overwrite_c=1)
    return found


def _centred(
    sample: Rows, mean: np.ndarray, by_columns: bool, memory_bytes: int
) -> Iterator[tuple[slice, np.ndarray]]:
    """The centred sample as float64, some columns or rows at a time."""
    count, dim = sample.shape
    if by_columns:
        for part in blocks(dim, 16 * count, memory_bytes):
            yield part, sample[:, part].astype(np.float64) - mean[part]
    else:
        for part in blocks(count, 16 * dim, memory_bytes):
            yield part, sample[part].astype(np.float64) - mean


def _principal(
    covariance: np.ndarray, dimensions: int, floor: float
) -> tuple[np.ndarray, np.ndarray, float]:
    """Falling eigenvalues [d] above rounding, their vectors [m, d], and the sum of all.

    Overwrites `covariance`, which takes 0.8 GB at 10,000 samples.
    """
    from scipy.linalg import eigh

    total = float(np.trace(covariance))
    values, vectors = eigh(covariance, driver="evr", overwrite_a=True, check_finite=False)
    kept = min(dimensions, int((values > floor).sum()))
    return values[::-1][:kept].copy(), vectors[:, ::-1][:, :kept].copy(), total
