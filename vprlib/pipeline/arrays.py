"""Small helpers for arrays: mapped on disk, rows as int8 with a scale each, pictures as PNG."""

import io
import mmap
import zlib
from collections.abc import Hashable, Iterable
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from vprlib.pipeline.artifacts import reserve

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LARGEST = 127  # of int8, positive or negative


def raw_bytes(values: np.ndarray) -> memoryview:
    """The bytes of a contiguous array, not copied."""
    return values.reshape(-1).view(np.uint8).data


def checksum(*arrays: np.ndarray) -> int:
    """Of the bytes of contiguous arrays; never zero, which marks what is absent."""
    return reduce(lambda found, values: zlib.crc32(raw_bytes(values), found), arrays, 0) or 1


def places_by(keys: Iterable[Hashable]) -> list[list[int]]:
    """The places of equal keys, in order of their first appearance."""
    groups: dict[Hashable, list[int]] = {}
    for place, key in enumerate(keys):
        groups.setdefault(key, []).append(place)
    return list(groups.values())


def rows_as_int8(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The integers [n, D] and scales [n] of float32 rows; a row of zeros stays one."""
    largest = np.maximum(np.abs(matrix).max(axis=1), np.finfo(np.float32).tiny * LARGEST)
    scales = (largest / LARGEST).astype(np.float32)
    integers = np.rint(matrix / scales[:, None]).clip(-LARGEST, LARGEST).astype(np.int8)
    return integers, scales


def scratch_array(path: Path, shape: tuple[int, int]) -> np.memmap:
    """A float32 array on disk, with its space reserved at once."""
    reserve(path, 4 * shape[0] * shape[1])
    return np.memmap(path, np.float32, "r+", shape=shape)


def forget(array: object) -> None:
    """Lets go of the pages of a mapped file: they stay in the system's cache, and count there."""
    mapped, mode = getattr(array, "_mmap", None), getattr(array, "mode", None)
    # what was written to a copy on write would be lost; not every system takes the advice
    if mapped is not None and mode != "c" and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)


def figure_png(figure: "Figure") -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    return buffer.getvalue()


def image_png(image: Image.Image | np.ndarray) -> bytes:
    """The PNG of a picture, or of an RGB array [H, W, 3]."""
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()
