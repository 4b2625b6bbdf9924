"""Describes every image of a set into a file, written as the descriptors come."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from vprlib.artifacts import writing_hdf5
from vprlib.batches import ImageSource
from vprlib.describe import describe, describe_into
from vprlib.in_step import ATTRIBUTE, signature
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
        file.attrs.update({"set": source.index.set_name, ATTRIBUTE: signature(source.index)})
        target = file.create_dataset("descriptors", shape, dtype=np.float32)
        describe_into(target, model.to(device), source, np.arange(shape[0]), device, runtime)
    return shape


def extract_rows(
    path: Path,
    model: PlaceModel,
    source: ImageSource,
    rows: np.ndarray,
    device: torch.device,
    runtime: RuntimeSettings,
    attributes: Mapping[str, str | int],
) -> tuple[int, int]:
    """As `extract`, for some images alone, by rising row."""
    shape = (len(rows), model.dim)
    with writing_hdf5(path) as file:
        file.attrs.update({"set": source.index.set_name, **attributes})
        file.create_dataset("image_rows", data=rows)
        target = file.create_dataset("descriptors", shape, dtype=np.float32)
        for found in describe(model.to(device), source, rows, device, runtime):
            order = np.argsort(found.rows)  # HDF5 wants rising places
            target[np.searchsorted(rows, found.rows[order])] = found.values.numpy()[order]
    return shape
