"""Descriptors on disk: written as they come, read a block at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import torch

from vprlib.artifacts import writing_hdf5
from vprlib.batches import ImageSource
from vprlib.describe import describe_into
from vprlib.model import PlaceModel
from vprlib.params import UserError
from vprlib.runtime import RuntimeSettings


def extract(
    path: Path,
    model: PlaceModel,
    source: ImageSource,
    device: torch.device,
    runtime: RuntimeSettings,
) -> tuple[int, int]:
    """Describes every image of the source into an HDF5 file; gives the shape of what is in it."""
    shape = (len(source.index), model.dim)
    with writing_hdf5(path) as file:
        file.attrs["set"] = source.index.set_name
        target = file.create_dataset("descriptors", shape, dtype=np.float32)
        describe_into(target, model.to(device), source, np.arange(shape[0]), device, runtime)
    return shape


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
