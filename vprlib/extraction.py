"""Describes every image of a set into a file, written as the descriptors come."""

from pathlib import Path

import numpy as np
import torch

from vprlib.artifacts import writing_hdf5
from vprlib.batches import ImageSource
from vprlib.describe import describe_into
from vprlib.model import PlaceModel
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
