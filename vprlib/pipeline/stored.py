"""The one reader of HDF5 files: what they hold is checked before it is used."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import h5py
import numpy as np

from vprlib.pipeline.json_files import AGAIN, damaged
from vprlib.pipeline.params import UserError

# what h5py raises for a file whose bytes are not what they should be
_DAMAGED = (OSError, RuntimeError, KeyError, TypeError, ValueError, OverflowError, MemoryError)
NETWORK = "network"  # attribute of descriptors: a digest of the file of their network
LARGEST = 1e15  # of numbers that are squared
_SHRINKS = 16  # by which a packed array may be smaller; floats hardly halve
_SMALL = 2**24  # bytes that any file may unpack to
_CALLED = {"f": "float", "i": "integer", "u": "integer", "b": "boolean", "O": "text"}


class Stored:
    """An open HDF5 file; sizes that bear the same letter must be equal throughout the file."""

    def __init__(self, path: Path, file: h5py.File, remedy: str) -> None:
        self.path, self._file, self._remedy = path, file, remedy
        self._sizes: dict[str, int] = {}

    def __contains__(self, name: str) -> bool:
        with self._reading():
            return name in self._file

    def names(self, group: str = "/") -> list[str]:
        """The arrays and groups in a group; none where it is not there."""
        with self._reading():
            return list(self._file[group]) if group in self._file else []

    def rows(self, name: str, kinds: str, sizes: str) -> h5py.Dataset:
        """A dataset that is not read yet; `kinds` are those of NumPy.

        `sizes` are such as 'N 2'; '*' stands for any shape.
        """
        with self._reading():
            found = self._own(name)
            is_text = h5py.check_string_dtype(found.dtype) is not None
            if found.dtype.kind not in kinds or (found.dtype.kind == "O" and not is_text):
                wanted = " or ".join(dict.fromkeys(_CALLED[kind] for kind in kinds))
                self.refuse(f"'{name}' should be {wanted}, but is {found.dtype}")
            if sizes != "*":
                self._check_shape(name, found.shape, sizes.split())
            self._check_bytes(name, found)
            return found

    def _own(self, name: str) -> h5py.Dataset:
        """The dataset, which lies in this file and nowhere else."""
        if name not in self._file:
            self.refuse(f"lacks '{name}'")
        is_here = isinstance(self._file.get(name, getlink=True), h5py.HardLink)
        found = self._file[name] if is_here else None
        if not isinstance(found, h5py.Dataset) or found.external or found.is_virtual:
            self.refuse(f"'{name}' is no array of its own")
        return found

    def array(self, name: str, kinds: str, sizes: str) -> np.ndarray:
        """The values; text as Python's strings."""
        found = self.rows(name, kinds, sizes)
        with self._reading():
            return found.asstr()[...] if found.dtype.kind == "O" else found[...]

    def finite(self, name: str, sizes: str) -> np.ndarray:
        """Floats that can be squared, which Faiss does without a check."""
        found = self.array(name, "f", sizes)
        if not np.abs(found).max(initial=0) < LARGEST:
            self.refuse(f"'{name}' has values that are not finite")
        return found

    def number(self, name: str, array: str = "") -> float:
        """An attribute of the file, or of an array in it, that is a finite number."""
        value = self._attribute(name, array)
        if not isinstance(value, (int, float, np.integer, np.floating)) or not np.isfinite(value):
            self.refuse(f"its attribute '{name}' should be a number, but is {value!r}")
        return float(value)

    def positive(self, name: str) -> float:
        value = self.number(name)
        return value if value > 0 else self.refuse(f"its attribute '{name}' is {value:g}")

    def text(self, name: str, array: str = "") -> str:
        value = self._attribute(name, array)
        if not isinstance(value, str):
            self.refuse(f"its attribute '{name}' should be text, but is {value!r}")
        return value

    def truth(self, name: str) -> bool:
        value = self._attribute(name)
        if not isinstance(value, (bool, np.bool_)):
            self.refuse(f"its attribute '{name}' should be true or false, but is {value!r}")
        return bool(value)

    def attributes(self) -> dict[str, object]:
        with self._reading():
            return dict(self._file.attrs)

    def has_attribute(self, name: str) -> bool:
        with self._reading():
            return name in self._file.attrs

    def refuse(self, problem: str) -> NoReturn:
        raise damaged(self.path, problem, self._remedy)

    def _attribute(self, name: str, array: str = "") -> object:
        with self._reading():
            attributes = (self._file[array] if array else self._file).attrs
            if name not in attributes:
                self.refuse(f"lacks the attribute '{name}'")
            return attributes[name]

    def _check_shape(self, name: str, shape: tuple[int, ...], sizes: list[str]) -> None:
        wanted = [int(s) if s.isdecimal() else self._sizes.get(s, s) for s in sizes]
        is_so = [isinstance(w, str) or w == n for w, n in zip(wanted, shape, strict=False)]
        if len(shape) != len(sizes) or not all(is_so):
            form = ", ".join(map(str, wanted))
            self.refuse(f"'{name}' should have the shape ({form}), but has {shape}")
        self._sizes |= {s: n for s, n in zip(sizes, shape, strict=True) if not s.isdecimal()}

    def _check_bytes(self, name: str, found: h5py.Dataset) -> None:
        """A file of a kilobyte may declare an array of terabytes."""
        size = self.path.stat().st_size
        limit = size if found.chunks is None else _SMALL + _SHRINKS * size
        if found.nbytes > limit or (found.id.get_offset() or 0) + found.nbytes > limit:
            self.refuse(f"'{name}' should have {found.nbytes} bytes, but the file has {size}")

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except UserError:
            raise
        except _DAMAGED as error:
            self.refuse(_reason(error))


@contextmanager
def reading(path: Path, remedy: str = AGAIN) -> Iterator[Stored]:
    """The file, open; what HDF5 says of it while rows are read becomes a sentence too."""
    try:
        file = h5py.File(path)
    except (FileNotFoundError, PermissionError):
        raise
    except _DAMAGED as error:
        raise damaged(path, _reason(error), remedy) from None
    with file:
        try:
            yield Stored(path, file, remedy)
        except OSError as error:
            if error.errno is not None or "Can't" not in str(error):
                raise
            raise damaged(path, _reason(error), remedy) from None


def digest(path: Path) -> str:
    """16 hexadecimal digits of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=8)).hexdigest()


def _reason(error: Exception) -> str:
    """What HDF5 says, without the addresses and numbers in it."""
    words = " ".join(str(error).split()) or type(error).__name__
    return words.partition("(")[2].rstrip(")")[:100] or words[:100]
