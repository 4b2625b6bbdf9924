"""Opens descriptors on disk, to be read a block at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from vprlib.params import UserError


@contextmanager
def opened(path: Path, expected: int) -> Iterator[h5py.Dataset]:
    """The descriptors [N, D] on disk, checked to be as many as the index has images."""
    with h5py.File(path) as file:
        found = file["descriptors"]
        if len(found) != expected:
            raise UserError(
                f"{path} has {len(found)} descriptors, but the index has {expected} images:"
                " run `dvc repro` so that both are of the same set."
            )
        yield found
