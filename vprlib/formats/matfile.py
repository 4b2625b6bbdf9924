"""Reads MATLAB files with clear errors, and writes them without a date in the header."""

import io
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import scipy.io

from vprlib.pipeline.params import UserError

_HEADER_BYTES = 116
_VERSION = 124  # where version and byte order stand
_COMPRESSED = 15  # kind of a part
_SHRINKS = 64  # lists of names shrink by about 20


def read_mat(path: Path) -> dict[str, np.ndarray]:
    """The file's variables by name."""
    with _explaining(path):
        _check_inflated(path)
        content = scipy.io.loadmat(path)
    return {name: value for name, value in content.items() if not name.startswith("__")}


def variable_names(path: Path) -> list[str]:
    with _explaining(path):
        _check_inflated(path)
        return [name for name, *_ in scipy.io.whosmat(path)]


def mat_bytes(variables: Mapping[str, object], title: str, compress: bool = False) -> bytes:
    """A MATLAB v5 file with `title` in place of the date; dictionaries become structs."""
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, dict(variables), oned_as="row", do_compression=compress)
    header = f"MATLAB 5.0 MAT-file, vprlib, {title}".encode("ascii", "replace")
    return header[:_HEADER_BYTES].ljust(_HEADER_BYTES) + buffer.getvalue()[_HEADER_BYTES:]


def cell(values: Sequence[object]) -> np.ndarray:
    """A 1×N cell array."""
    made = np.empty((1, len(values)), dtype=object)
    for place, value in enumerate(values):
        made[0, place] = value
    return made


def _check_inflated(path: Path) -> None:
    """A small file may unpack to gigabytes, which SciPy would take at once."""
    with path.open("rb") as file:
        limit = 2**26 + _SHRINKS * file.seek(0, 2)
        file.seek(_VERSION)
        order = "<" if file.read(4).endswith(b"IM") else ">"
        while len(tag := file.read(8)) == 8:
            kind, size = struct.unpack(f"{order}II", tag)
            start = file.tell()
            if kind == _COMPRESSED:
                limit -= _inflated(file, size, limit)
            if limit < 0:
                raise ValueError("it unpacks to far more than its length")
            file.seek(start + size)


def _inflated(file: BinaryIO, size: int, limit: int) -> int:
    """The length of what a compressed part unpacks to, counted as far as the limit."""
    packed, count = zlib.decompressobj(), 0
    while size > 0 and count <= limit and (piece := file.read(min(size, 2**20))):
        size -= len(piece)
        while piece and count <= limit:
            count += len(packed.decompress(piece, 2**24))
            piece = packed.unconsumed_tail
    return count


@contextmanager
def _explaining(path: Path) -> Iterator[None]:
    """Turns scipy's errors into one sentence."""
    try:
        yield
    except NotImplementedError:
        raise UserError(
            f"{path} is a MATLAB 7.3 file, which cannot be read: save it with `-v7` in MATLAB."
        ) from None
    except Exception as error:  # scipy raises anything from TypeError to zlib.error on bad bytes
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"{path} cannot be read as a .mat file ({reason}): it is truncated or not a .mat"
            " file; fetch it again."
        ) from None
