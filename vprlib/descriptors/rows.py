"""Reads rows of descriptors from memory or disk as float32, into one buffer."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import faiss
import h5py
import numpy as np

from vprlib.pipeline.arrays import forget
from vprlib.pipeline.params import UserError

PIECE = 2**23  # bytes of float32 that are converted at once
SHORT_RUN = 16  # rows; HDF5 takes as long to start a read as to read so many


class Rows(Protocol):
    """An array, a memmap or an HDF5 dataset [N, D]."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype: ...

    def __getitem__(self, rows: int | slice | np.ndarray, /) -> np.ndarray: ...


class Reader:
    """Reads rows in blocks of at most `size`: those `among` some, without the `excluded` ones."""

    def __init__(
        self,
        rows: Rows,
        size: int,
        excluded: np.ndarray | None = None,
        among: np.ndarray | None = None,
    ) -> None:
        count, dim = rows.shape
        self.rows, self.dim = rows, dim
        self.kept = kept_rows(count, excluded, among)
        self.count = count if self.kept is None else len(self.kept)
        self.size = max(1, min(size, self.count))
        self._buffer: np.ndarray | None = None  # reused, since new memory is slow
        self._staged = np.empty((0, dim))

    def blocks(self) -> range:
        """The start of each block."""
        return range(0, self.count, self.size)

    def numbers(self, start: int, places: np.ndarray) -> np.ndarray:
        """The row numbers of `places` in the block at `start`."""
        return places + start if self.kept is None else self.kept[start + places]

    def block(self, start: int, end: int | None = None) -> np.ndarray:
        """float32 [n, D] from `start`, before `end`; overwritten by the next call."""
        stop = min(start + self.size, self.count if end is None else end)
        if self.kept is None and _needs_no_copy(self.rows):
            return np.asarray(self.rows[start:stop])
        if self._buffer is None:
            self._buffer = np.empty((self.size, self.dim), np.float32)
        target = self._buffer[: stop - start]
        if self.kept is None:
            self._read_into(target, start)
        else:
            self._read_some(target, self.kept[start:stop])
        return target

    def _read_some(self, target: np.ndarray, kept: np.ndarray) -> None:
        """These rising rows: run by run, unless the runs are short."""
        pieces = list(runs(kept))
        if is_scattered(kept, pieces) and mapped(self.rows) is not None:
            gather(self.rows, kept, target)
            return
        at = 0
        for piece in pieces:
            length = piece.stop - piece.start
            self._read_into(target[at : at + length], piece.start)
            at += length

    def _read_into(self, target: np.ndarray, start: int) -> None:
        """Rows from `start` on, a few at a time if they must be converted."""
        few = max(1, PIECE // (4 * max(1, self.dim)))
        stored = self.rows if isinstance(self.rows, h5py.Dataset) else None
        if stored is not None and stored.dtype == np.float32:
            stored.read_direct(target, np.s_[start : start + len(target)])
            return
        if stored is not None and not len(self._staged):
            self._staged = np.empty((few, self.dim), self.rows.dtype)
        for at in range(0, len(target), few):
            part = target[at : at + few]
            source = np.s_[start + at : start + at + len(part)]
            if stored is not None:
                stored.read_direct(self._staged, source, np.s_[: len(part)])
                _convert(self._staged[: len(part)], part)
            else:
                _convert(self.rows[source], part)
                forget(self.rows)


def kept_rows(
    count: int, excluded: np.ndarray | None, among: np.ndarray | None
) -> np.ndarray | None:
    """Rising rows that are left of `count`; None: all."""
    if among is None and (excluded is None or not len(excluded)):
        return None
    is_kept = np.full(count, among is None)
    if among is not None:
        is_kept[among] = True
    if excluded is not None:
        is_kept[excluded] = False
    return np.flatnonzero(is_kept)


def runs(rows: np.ndarray) -> Iterator[slice]:
    """Rising rows as slices of consecutive ones."""
    ends = np.flatnonzero(np.diff(rows, append=-1) != 1)
    starts = np.concatenate([[0], ends[:-1] + 1])
    for first, last in zip(rows[starts[: len(ends)]].tolist(), rows[ends].tolist(), strict=True):
        yield slice(first, last + 1)


def is_scattered(rows: np.ndarray, pieces: list[slice]) -> bool:
    """Whether reading run by run is slow."""
    return len(rows) < SHORT_RUN * len(pieces)


@dataclass(frozen=True)
class RowSubset:
    """Some rows [n, D], as if there were no others."""

    whole: h5py.Dataset  # or any other rows
    rows: np.ndarray  # rising

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.rows), self.whole.shape[1]

    @property
    def dtype(self) -> np.dtype:
        return self.whole.dtype

    def __getitem__(self, part: int | slice | np.ndarray | tuple[slice, slice]) -> np.ndarray:
        if isinstance(part, int):
            return self.whole[int(self.rows[part])]
        wanted, *columns = part if isinstance(part, tuple) else (part,)
        rows = self.rows[wanted]
        pieces = list(runs(rows)) or [slice(0, 0)]
        if not columns and is_scattered(rows, pieces):
            source = mapped(self.whole)
            if source is not None:
                return np.asarray(source[rows])
        return np.concatenate([self.whole[(piece, *columns)] for piece in pieces])


def _needs_no_copy(rows: Rows) -> bool:
    if not isinstance(rows, np.ndarray) or isinstance(rows, np.memmap):
        return False
    return rows.dtype == np.float32 and rows.flags.c_contiguous


def gather(rows: Rows, numbers: np.ndarray, into: np.ndarray | None = None) -> np.ndarray:
    """These rising rows as float32 [n, D]; HDF5 itself is slow for many of them."""
    source = mapped(rows)
    found = np.empty((len(numbers), rows.shape[1]), np.float32) if into is None else into
    few = max(1, PIECE // (4 * max(1, rows.shape[1])))
    for at in range(0, len(numbers), few):
        part = numbers[at : at + few]
        if source is None:
            for place, number in enumerate(part.tolist(), at):
                found[place] = rows[number]
        else:
            _convert(source[part], found[at : at + few])
            forget(source)
    return found


def mapped(rows: Rows) -> Rows | None:
    """The rows as a memory-mapped array; None if they are stored in chunks."""
    if not isinstance(rows, h5py.Dataset):
        return rows
    offset = rows.id.get_offset()
    if offset is None or not len(rows):
        return None
    rows.file.flush()
    return np.memmap(rows.file.filename, rows.dtype, "r", offset, rows.shape)


def _convert(values: np.ndarray, target: np.ndarray) -> None:
    """To float32; Faiss converts float16 with all its threads."""
    if values.dtype != np.float16 or not values.flags.c_contiguous:
        np.copyto(target, values, casting="same_kind")
        return
    coder = faiss.ScalarQuantizer(values.shape[1], faiss.ScalarQuantizer.QT_fp16)
    codes = np.asarray(values).view(np.uint8)
    coder.decode_c(faiss.swig_ptr(codes), faiss.swig_ptr(target), len(values))


def squared_lengths(vectors: np.ndarray) -> np.ndarray:
    """|v|² of float32 vectors [n, D]; raises an error if one is not finite."""
    found = np.empty(len(vectors), np.float32)
    faiss.fvec_norms_L2sqr(faiss.swig_ptr(found), faiss.swig_ptr(vectors), *vectors.shape[::-1])
    if not np.isfinite(found).all():
        raise UserError(
            f"{np.sum(~np.isfinite(found))} of {len(found)} descriptors are not finite: the network"
            " that made them is broken; train it again, or leave its variant out."
        )
    return found


def squared_between(
    ones: np.ndarray, one_rows: np.ndarray, others: np.ndarray, other_rows: np.ndarray
) -> np.ndarray:
    """|a − b|² from differences, for pairs of rows of two float32 arrays [n, D] and [m, D].

    Faiss's search may use |a|² + |b|² − 2 a·b, which gives 7e-4 for equal vectors.
    """
    found = np.empty(len(one_rows), np.float32)
    # bound to names: Faiss gets addresses, which keep no array alive
    one_rows, other_rows = (np.ascontiguousarray(r, np.int64) for r in (one_rows, other_rows))
    of, at, other, there, into = map(faiss.swig_ptr, (ones, one_rows, others, other_rows, found))
    faiss.pairwise_indexed_L2sqr(ones.shape[1], len(found), of, at, other, there, into)
    return found
