"""A file of descriptors that is written block by block and survives interruptions."""

import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Self

import numpy as np

from vprlib.pipeline.arrays import checksum, raw_bytes
from vprlib.pipeline.artifacts import places_in, write_at
from vprlib.pipeline.explained import explaining
from vprlib.pipeline.params import UserError

SECONDS_BETWEEN = 5.0  # between calls of fsync
FILE, MARKS = "descriptors.h5", "marks"
WAITING = 2  # at most so many blocks are computed and not yet written


class Unfinished:
    """A file of descriptors [N, D] that is filled in place, with a mark for each complete block.

    A mark is a checksum of its block and is written after it: whenever a process or the machine
    dies, an incomplete block is recognised. Several processes may write at once, each its own
    blocks. A block with an unreadable image gets no mark, so that the next run tries it again.
    """

    def __init__(self, folder: Path, blocks: Sequence[np.ndarray]) -> None:
        self.path, self.blocks = folder / FILE, blocks
        self._places = places_in(self.path, ("descriptors", "failed"))
        self._file = os.open(self.path, os.O_RDWR)
        self._marks = os.open(folder / MARKS, os.O_RDWR)
        self._writer = ThreadPoolExecutor(1)
        self._waiting: list[Future[None]] = []
        self._settled = time.monotonic()

    @classmethod
    @contextmanager
    def opened(cls, folder: Path, blocks: Sequence[np.ndarray]) -> Iterator[Self]:
        """Writes what was given to `put`, also after an error elsewhere."""
        file = cls(folder, blocks)
        try:
            yield file
            while file._waiting:
                file._waiting.pop(0).result()
        finally:
            file._writer.shutdown()
            try:
                file._settle()
            finally:
                os.close(file._marks)
                os.close(file._file)

    def is_whole(self, block: int) -> bool:
        """Whether an earlier run completed the block."""
        mark = os.pread(self._marks, 4, 4 * block)
        values, failed = (
            np.empty((len(self.blocks[block]), *place.shape[1:]), place.dtype)
            for place in self._places
        )
        if not any(mark):
            return False
        for place, array in zip(self._places, (values, failed), strict=True):
            for run, row in _runs(self.blocks[block]):
                part = raw_bytes(array[run])
                if os.preadv(self._file, [part], place.of(row)) < len(part):
                    return False
        return mark == checksum(values, failed).to_bytes(4, "little")

    def put(self, block: int, values: np.ndarray, failed: np.ndarray) -> None:
        """Writes the float32 descriptors [B, D] of a block in a thread; errors are raised later."""
        while len(self._waiting) >= WAITING:
            self._waiting.pop(0).result()
        self._waiting.append(self._writer.submit(self._write, block, values, failed))

    def _write(self, block: int, values: np.ndarray, failed: np.ndarray) -> None:
        values = self._stored(values)
        values[failed] = 0
        with explaining(self.path):
            for place, array in zip(self._places, (values, failed), strict=True):
                for run, row in _runs(self.blocks[block]):
                    write_at(self._file, array[run], place.of(row))
            if not failed.any():
                mark = np.array([checksum(values, failed)], "<u4")
                write_at(self._marks, mark, mark.nbytes * block)
        if time.monotonic() > self._settled + SECONDS_BETWEEN:
            self._settle()

    def _stored(self, values: np.ndarray) -> np.ndarray:
        """A copy in the precision of the file."""
        with np.errstate(over="ignore"):
            stored = values.astype(self._places[0].dtype)
        if not np.isfinite(stored).all() and np.isfinite(values).all():
            raise UserError(
                f"a descriptor has the value {np.abs(values).max():g}, too large for float16:"
                " set extraction.stored to float32."
            )
        return stored

    def _settle(self) -> None:
        with explaining(self.path):
            os.fsync(self._file)
            os.fsync(self._marks)
        self._settled = time.monotonic()


def _runs(rows: np.ndarray) -> Iterator[tuple[slice, int]]:
    """Parts of a block that are contiguous in the file, and the first row of each."""
    ends = [0, *(np.flatnonzero(np.diff(rows) != 1) + 1).tolist(), len(rows)]
    for start, end in pairwise(ends):
        yield slice(start, end), int(rows[start])
