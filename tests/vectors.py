"""Random unit vectors, and which rows belong to which query."""

import numpy as np

from vprlib.descriptors.whitening import Whitening
from vprlib.places.geo import Pairs, pairs_of


def unit(count: int, dim: int = 6, seed: int = 1) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def whitened(found: Whitening, vectors: np.ndarray) -> np.ndarray:
    """Unit vectors [n, d] of descriptors [n, D], the obvious way."""
    centred = (vectors - found.mean) @ found.projection.astype(np.float64).T
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    return (centred / np.maximum(lengths, 1e-30)).astype(np.float32)


def pairs(*rows: list[int]) -> Pairs:
    """A list of rows for each query."""
    return pairs_of([np.array(found, np.int64) for found in rows])
