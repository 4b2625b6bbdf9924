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
        yield _checked(file["descriptors"], path, expected)


@contextmanager
def opened_code(
    code_path: Path, side: Side, full_path: Path, expected: int
) -> Iterator[h5py.Dataset]:
    """What a code keeps of one side [N, d]; a code that keeps all has no copy of `full_path`."""
    with h5py.File(code_path) as file:
        if side in file:
            yield _checked(file[side], code_path, expected)
        else:
            with opened(full_path, expected) as full:
                yield full


def failed_rows(path: Path) -> np.ndarray:
    """Rising rows of images that could not be read: their descriptors are zeros, and no result."""
    with h5py.File(path) as file:
        return np.flatnonzero(file["failed"][:]) if "failed" in file else np.zeros(0, np.int64)


def _checked(found: h5py.Dataset, path: Path, expected: int) -> h5py.Dataset:
    if len(found) != expected:
        raise UserError(
            f"{path} has {len(found)} descriptors, but the index has {expected} images:"
            " run `dvc repro` so that both are of the same set."
        )
    return found
