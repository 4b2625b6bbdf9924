"""Reads MATLAB files with clear errors, and writes them without a date in the header."""

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import scipy.io

from vprlib.pipeline.params import UserError

_HEADER_BYTES = 116


def read_mat(path: Path) -> dict[str, np.ndarray]:
    """The file's variables by name."""
    with _explaining(path):
        content = scipy.io.loadmat(path)
    return {name: value for name, value in content.items() if not name.startswith("__")}


def variable_names(path: Path) -> list[str]:
    with _explaining(path):
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
