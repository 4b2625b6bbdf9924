"""The one writer: every file is written beside its place and then renamed into it."""

import csv
import errno
import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import ZIP_DEFLATED, ZipFile

import h5py
import numpy as np

from vprlib.pipeline.explained import check_place, explained, explaining

if TYPE_CHECKING:
    import torch

_NO_RESERVING = {errno.EINVAL, errno.EOPNOTSUPP}  # of file systems that cannot
# files that `together` will rename
_waiting: ContextVar[list[tuple[Path, Path]] | None] = ContextVar("waiting", default=None)
Attribute = str | int | float | bool


@dataclass(frozen=True)
class Place:
    """Where the rows of a dataset lie in its file, one after the other."""

    start: int  # byte; 0 where there is no row
    shape: tuple[int, ...]
    dtype: np.dtype

    def of(self, row: int) -> int:
        return self.start + row * self.dtype.itemsize * math.prod(self.shape[1:])


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a path beside `path` for a file or a folder; renamed at the end, removed on failure."""
    check_place(path)
    partial, waiting = path.with_name(f".{path.name}.partial"), _waiting.get()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _discard(partial)
        yield partial
        if partial.is_dir() != path.is_dir() and path.exists():
            raise OSError(errno.EISDIR if path.is_dir() else errno.EEXIST, "", str(path))
        _discard(path) if partial.is_dir() else _flush(partial)
        partial.replace(path) if waiting is None else waiting.append((partial, path))
    except (OSError, RuntimeError) as error:  # h5py raises RuntimeError when closing fails
        _discard(partial)
        raise explained(error, path) from error
    except BaseException:
        _discard(partial)
        raise


@contextmanager
def together() -> Iterator[None]:
    """The files that the body writes appear together when it has ended well, or none of them."""
    waiting: list[tuple[Path, Path]] = []
    token = _waiting.set(waiting)
    try:
        yield
        for partial, path in waiting:
            with explaining(path):
                partial.replace(path)
    finally:
        _waiting.reset(token)
        for partial, _ in waiting:
            _discard(partial)


def write_folder(path: Path, files: Iterable[tuple[str, bytes]]) -> str:
    """A folder of files by relative name; gives a digest of their contents in order."""
    digest = hashlib.sha256()
    with replacing(path) as partial:
        partial.mkdir()
        for name, content in files:
            target = partial / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
            digest.update(content)
    return digest.hexdigest()[:16]


@contextmanager
def writing_folder(path: Path) -> Iterator[Path]:
    """A folder to be filled, which appears at `path` only when the body has ended well."""
    with replacing(path) as partial:
        partial.mkdir()
        yield partial
        for file in partial.rglob("*"):
            if file.is_file():
                _flush(file)


def write_zip(path: Path, folder: Path) -> None:
    """An archive of a folder, in which all names begin with the folder's."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    with replacing(path) as partial, ZipFile(partial, "w", ZIP_DEFLATED) as archive:
        for file in files:
            archive.write(file, Path(folder.name) / file.relative_to(folder))


@contextmanager
def writing_at(path: Path, size: int) -> Iterator[Callable[[int, np.ndarray], None]]:
    """A file of known size inside a folder that is being filled; gives what writes at an offset."""
    reserve(path, size)
    with path.open("r+b", buffering=0) as file:
        yield lambda offset, content: write_at(file.fileno(), content, offset)


def write_bytes(path: Path, content: bytes) -> None:
    with replacing(path) as partial:
        partial.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    write_bytes(path, content.encode())


def write_report(path: Path, lines: Sequence[str]) -> None:
    """The lines, if there are any; else the report of an earlier run is removed."""
    if lines:
        write_text(path, "".join(f"{line}\n" for line in lines))
    else:
        _discard(path)


def write_json(path: Path, content: Mapping[str, object] | Sequence[object]) -> None:
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


@contextmanager
def writing_hdf5(path: Path) -> Iterator[h5py.File]:
    """An open HDF5 file that appears at `path` only when the body has ended well."""
    # through a Python file: HDF5's own driver can crash the process on a full disk
    with (
        replacing(path) as partial,
        partial.open("w+b") as raw,
        h5py.File(raw, "w", libver="v110") as file,
    ):
        yield file


def write_hdf5(
    path: Path,
    arrays: Mapping[str, np.ndarray | Sequence[str]],
    attributes: Mapping[str, Attribute] | None = None,
) -> None:
    """Arrays and lists of strings as datasets, `attributes` on the root."""
    with writing_hdf5(path) as file:
        for name, values in arrays.items():
            if isinstance(values, np.ndarray) and values.dtype != object:
                file.create_dataset(name, data=values)
            else:
                file.create_dataset(name, data=list(values), dtype=h5py.string_dtype())
        file.attrs.update(attributes or {})


def prepare_hdf5(
    path: Path,
    empty: Mapping[str, tuple[tuple[int, ...], np.dtype]],
    arrays: Mapping[str, np.ndarray],
    attributes: Mapping[str, Attribute],
) -> None:
    """As `write_hdf5`, with datasets of zeros to be filled in place: their space is taken at once.

    `places_in` says where they lie; what a finished file holds depends on their values alone.
    """
    with replacing(path) as partial:
        with partial.open("w+b") as raw, h5py.File(raw, "w", libver="v110") as file:
            file.attrs.update(attributes)
            for name, values in arrays.items():
                file.create_dataset(name, data=values)
            for name, (shape, dtype) in empty.items():
                file.create_dataset(name, shape, dtype, dcpl=_reserved())
        size = partial.stat().st_size
        with partial.open("r+b") as raw:
            _allocate(raw.fileno(), size)


def places_in(path: Path, names: Iterable[str]) -> list[Place]:
    with h5py.File(path) as file:
        found = [file[name] for name in names]
        return [Place(f.id.get_offset() or 0, f.shape, f.dtype) for f in found]


def link(source: Path, path: Path) -> None:
    """Holds what a file has now at another place too, whatever becomes of the file."""
    try:
        os.link(source, path)
    except OSError:  # another disk, or one without links
        shutil.copyfile(source, path)


def publish(source: Path, path: Path) -> None:
    """Moves a finished file to its place, flushed; by a copy where that is on another disk."""
    with explaining(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _flush(source)
        try:
            source.replace(path)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            with replacing(path) as partial:
                shutil.copyfile(source, partial)


def write_at(file: int, values: np.ndarray, place: int) -> None:
    """Writes all bytes of an array at a place of an open file."""
    rest = np.ascontiguousarray(values).reshape(-1).view(np.uint8).data
    while rest:
        count = os.pwrite(file, rest, place)
        rest, place = rest[count:], place + count


def write_tensors(
    path: Path, tensors: Mapping[str, "torch.Tensor"], header: Mapping[str, object]
) -> None:
    """Safetensors with `header` as sorted JSON under one key: two keys would not be stable."""
    from safetensors.torch import save

    metadata = {"header": json.dumps(header, sort_keys=True, allow_nan=False)}
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_bytes(path, save(contiguous, metadata=metadata))


def reserve(path: Path, size: int) -> None:
    """A file of zeros, its space taken at once: a full disk is a sentence, not a crash later."""
    with explaining(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w+b") as file:
            _allocate(file.fileno(), size)


def _allocate(file: int, size: int) -> None:
    """Makes an open file that long, of zeros where it was shorter."""
    allocate = getattr(os, "posix_fallocate", None)  # not on every system
    try:
        allocate(file, 0, size) if allocate and size else os.truncate(file, size)
    except OSError as error:
        if error.errno not in _NO_RESERVING:
            raise
        os.truncate(file, size)


def _reserved() -> h5py.h5p.PropDCID:
    """Of a dataset that lies in the file from the beginning, and that nobody fills with zeros."""
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_layout(h5py.h5d.CONTIGUOUS)
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    return properties


def _discard(path: Path) -> None:
    """Removes what may be there; on a read-only disk even an absent file cannot be unlinked."""
    with suppress(OSError):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
