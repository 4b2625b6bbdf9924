"""Stores a whitening matrix in fewer bytes: short numbers, or a low rank per visual word."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from pydantic import Field, model_validator

from vprlib.descriptors.whitening import Rows, blocks
from vprlib.pipeline.arrays import rows_as_int8
from vprlib.pipeline.params import Section

NEGLIGIBLE = 1e-10  # of the largest eigenvalue: below it a direction counts as empty
Arrays = dict[str, np.ndarray]


class MatrixSettings(Section):
    """The `matrix` of a code: how its whitening matrix is stored."""

    # int8: with a scale per row
    numbers: Literal["float32", "float16", "int8"] = "float32"
    # combinations that are kept of each group of `of` columns, the same for all groups; null: all
    rank: int | None = Field(None, ge=1, le=2**20)
    of: int | None = Field(None, ge=2, le=2**20)  # channels of a visual word

    @model_validator(mode="after")
    def _rank_is_of_more(self) -> Self:
        if (self.rank is None) != (self.of is None):
            raise ValueError("matrix.rank and matrix.of need one another")
        if self.rank is not None and self.of is not None and self.rank >= self.of:
            raise ValueError(
                f"matrix.rank must be below matrix.of, but is {self.rank} of {self.of}"
            )
        return self


@dataclass(frozen=True)
class Matrix:
    """Y = X Pᵀ; P may be a product of one matrix for all words and one for each word."""

    projection: np.ndarray  # [d, D], or [d, K r] after `channels`
    channels: np.ndarray | None = None  # [r, C], D = K C

    def apply(self, vectors: np.ndarray) -> np.ndarray:
        """[n, d] of float32 vectors [n, D]."""
        if self.channels is None:
            return vectors @ self.projection.T
        words = vectors.reshape(len(vectors), -1, self.channels.shape[1])  # n K C
        return (words @ self.channels.T).reshape(len(vectors), -1) @ self.projection.T

    @property
    def width(self) -> int:
        """D, the dimensions of its input."""
        if self.channels is None:
            return self.projection.shape[1]
        rank, channels = self.channels.shape
        return self.projection.shape[1] // rank * channels


def of_lower_rank(
    projection: np.ndarray, sample: Rows, mean: np.ndarray, rank: int, of: int, memory_bytes: int
) -> Matrix:
    """P with only `rank` combinations of the `of` channels of a word, the best for the sample.

    With G = Σ P_kᵀ P_k and S = Σ x_k x_kᵀ over words and images, A Bᵀ minimises
    tr G (I − A Bᵀ) S (I − A Bᵀ)ᵀ: the error of the output if words were independent. A low rank of
    P as a whole gains nothing: its rows are orthogonal and each gives a unit of variance, so the
    best matrix of rank r is the whitening to r dimensions.
    """
    dim, width = projection.shape
    weight, spread = np.zeros((of, of)), np.zeros((of, of))
    for part in blocks(dim, 16 * width, memory_bytes):
        words = projection[part].reshape(-1, of).astype(np.float64)
        weight += words.T @ words
    for part in blocks(sample.shape[0], 16 * width, memory_bytes):
        words = (sample[part].astype(np.float64) - mean).reshape(-1, of)
        spread += words.T @ words
    root_of_weight, root_of_spread = _root(weight, 0.5), _root(spread, 0.5)
    left, values, right = np.linalg.svd(root_of_weight @ root_of_spread)
    outer = _root(weight, -0.5) @ left[:, :rank] * values[:rank]  # A
    inner = right[:rank] @ _root(spread, -0.5)  # Bᵀ
    kept = projection.reshape(-1, of) @ outer.astype(np.float32)
    return Matrix(kept.reshape(dim, -1), inner.astype(np.float32))


def _root(symmetric: np.ndarray, power: float) -> np.ndarray:
    """A power of a positive semidefinite matrix; empty directions stay finite."""
    values, vectors = np.linalg.eigh(symmetric)
    values = np.maximum(values, max(values[-1] * NEGLIGIBLE, np.finfo(np.float64).tiny))
    return (vectors * values**power) @ vectors.T


def to_arrays(matrix: Matrix, numbers: str) -> Arrays:
    """The stored arrays."""
    parts = {"projection": matrix.projection}
    if matrix.channels is not None:
        parts["channels"] = matrix.channels
    if numbers != "int8":
        return {name: part.astype(numbers) for name, part in parts.items()}
    stored: Arrays = {}
    for name, part in parts.items():
        stored[name], stored[f"{name}_scales"] = rows_as_int8(part)
    return stored


def from_arrays(arrays: Mapping[str, np.ndarray]) -> Matrix:
    """The matrix, as float32 again."""
    channels = _as_float(arrays, "channels") if "channels" in arrays else None
    return Matrix(_as_float(arrays, "projection"), channels)


def _as_float(arrays: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    floats = np.asarray(arrays[name], np.float32)
    scales = f"{name}_scales"
    return floats * arrays[scales][:, None] if scales in arrays else floats
