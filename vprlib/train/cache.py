"""One array for each image of a source in the cache: outputs of frozen layers, or pixels."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from vprlib.pipeline.arrays import checksum, raw_bytes
from vprlib.pipeline.artifacts import reserve
from vprlib.pipeline.cache import About, Cache


@dataclass(frozen=True)
class CacheSpec:
    """What is cached for the images of one source."""

    what: str  # a description for people
    key: str  # a digest of everything that the values depend on
    shapes: np.ndarray  # [N, 3] of each image's array
    dtype: np.dtype

    @property
    def sizes(self) -> np.ndarray:
        return self.shapes.prod(axis=1) * self.dtype.itemsize

    @property
    def bytes(self) -> int:
        return int(self.sizes.sum())


class CacheFile:
    """The cached arrays of one source by row; each has a checksum that is verified when it is read.

    Several processes may use it at once: those that miss an array compute the same bytes.
    """

    def __init__(self, folder: Path, spec: CacheSpec, lock: int) -> None:
        self.spec = spec
        self._lock = lock  # held until the file is closed
        self._file = os.open(folder / "values", os.O_RDWR)
        self._starts = np.concatenate([[0], spec.sizes.cumsum()])
        self._marks = np.memmap(folder / "marks", np.uint32, "r+", shape=(len(spec.shapes),))

    @classmethod
    def opened(cls, cache: Cache, spec: CacheSpec) -> Self | None:
        """Created if it is missing; None if it does not fit: then nothing is cached."""

        def fill(folder: Path) -> None:
            reserve(folder / "values", spec.bytes)
            reserve(folder / "marks", 4 * len(spec.shapes))

        lock = cache.open(spec.key, About(spec.what, len(spec.shapes), spec.bytes), fill)
        return None if lock is None else cls(cache.folder / spec.key, spec, lock)

    def get(self, row: int) -> np.ndarray | None:
        """The array of an image; None if it is absent or damaged."""
        mark = int(self._marks[row])
        if not mark:
            return None
        values = np.empty(self.spec.shapes[row], self.spec.dtype)
        read = os.preadv(self._file, [raw_bytes(values)], int(self._starts[row]))
        return values if read == values.nbytes and checksum(values) == mark else None

    def put(self, row: int, values: np.ndarray) -> None:
        values = np.ascontiguousarray(values, self.spec.dtype)
        assert values.shape == tuple(self.spec.shapes[row])
        os.pwrite(self._file, raw_bytes(values), int(self._starts[row]))
        self._marks[row] = checksum(values)

    def close(self) -> None:
        os.close(self._file)
        os.close(self._lock)
