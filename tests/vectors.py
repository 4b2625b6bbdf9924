"""Random unit vectors, and which rows belong to which query."""

import numpy as np

from vprlib.descriptors.whitening import Whitening
from vprlib.places.geo import Pairs, pairs_of


def unit(count: int, dim: int = 6, seed: int = 1) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def clusters(count: int, seed: int, dim: int = 16) -> np.ndarray:
    """Unit vectors around forty directions."""
    generator = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(size=(40, dim))
    found = centres[generator.integers(0, 40, count)] + 0.3 * generator.normal(size=(count, dim))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def whitened(found: Whitening, vectors: np.ndarray) -> np.ndarray:
    """Unit vectors [n, d] of descriptors [n, D], the obvious way."""
    centred = (vectors - found.mean) @ found.projection.astype(np.float64).T
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    return (centred / np.maximum(lengths, 1e-30)).astype(np.float32)


def pairs(*rows: list[int]) -> Pairs:
    """A list of rows for each query."""
    return pairs_of([np.array(found, np.int64) for found in rows])
