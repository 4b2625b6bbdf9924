"""Opens descriptors on disk, to be read a block at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import h5py
import numpy as np

from vprlib.params import UserError

Side = Literal["database", "queries"]


@contextmanager
def opened(path: Path, expected: int) -> Iterator[h5py.Dataset]:
    """The descriptors [N, D] on disk, checked to be as many as the index has images."""
    with h5py.File(path) as file:
        yield checked(file["descriptors"], path, expected)


def failed_rows(path: Path) -> np.ndarray:
    """Rising rows of images that could not be read: their descriptors are zeros, and no result."""
    with h5py.File(path) as file:
        return np.flatnonzero(file["failed"][:]) if "failed" in file else np.zeros(0, np.int64)


def checked(found: h5py.Dataset, path: Path, expected: int) -> h5py.Dataset:
    if len(found) != expected:
        raise UserError(
            f"{path} has {len(found)} descriptors, but the index has {expected} images:"
            " run `dvc repro` so that both are of the same set."
        )
    return found
