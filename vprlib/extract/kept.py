"""Descriptors of earlier runs, found again by the content of their images."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vprlib.images.batches import ImageSource
from vprlib.pipeline.arrays import forget
from vprlib.pipeline.artifacts import link, places_in, write_json
from vprlib.pipeline.cache import About, Cache, digest, entries, removed
from vprlib.pipeline.json_files import read_json
from vprlib.pipeline.params import UserError
from vprlib.pipeline.stored import reading

CONTENTS = "contents"  # array of a file of descriptors: what each image shows
FILE, STATE = "descriptors.h5", "state.json"
BLOCK_BYTES = 2**24


@dataclass(frozen=True)
class State:
    """What the system says of a file; one that was changed in its place is not used."""

    size: int
    modified: int


@dataclass(frozen=True)
class KeptDescriptors:
    """Finished files of one network and its settings, as links in the cache."""

    cache: Cache
    network: str  # a digest of all that a descriptor depends on besides its image

    def copy_known(self, path: Path, contents: np.ndarray) -> np.ndarray:
        """Fills rows of a file with what is known of their images; gives which they are [N]."""
        is_known = np.zeros(len(contents), bool)
        for name in sorted(entry.name for entry in self._entries()):
            with self.cache.reading(name) as entry:
                if entry and _is_unchanged(entry):
                    is_known |= _copied(entry / FILE, path, contents, ~is_known)
        return is_known

    def keep(self, path: Path, contents: np.ndarray, what: str) -> None:
        """Links a finished file; others of this network that hold nothing more are removed."""
        if not (self.cache.limit_bytes and len(contents)):
            return
        name = f"{self.network}-{digest(contents)}"
        for entry in self._entries():
            if not _is_unchanged(entry):
                removed(entry)
        about = About(what, len(contents), path.stat().st_size)
        if not self.cache.keep(name, about, lambda folder: _link(path, folder)):
            return
        for entry in self._entries():
            if entry.name != name and _is_covered(entry / FILE, contents):
                removed(entry)

    def _entries(self) -> list[Path]:
        return entries(self.cache.folder, f"{self.network}-")


def contents_of(source: ImageSource, rows: np.ndarray) -> np.ndarray:
    """A number for what each image shows [N]: its bytes, and the part of it that is used.

    It is negative where the image could not be read.
    """
    contents = source.index.digests[rows].astype(np.int64)
    if "box" in source.index.extra:
        boxes = source.index.extra["box"][rows]
        cut = [int(digest(*pair)[:15], 16) for pair in zip(contents.tolist(), boxes, strict=True)]
        contents = np.where(contents < 0, contents, np.array(cut, np.int64))
    return contents


def _link(path: Path, folder: Path) -> None:
    link(path, folder / FILE)
    write_json(folder / STATE, vars(_state(folder / FILE)))


def _state(path: Path) -> State:
    about = path.stat()
    return State(about.st_size, about.st_mtime_ns)


def _is_unchanged(entry: Path) -> bool:
    try:
        return _state(entry / FILE) == read_json(entry / STATE, State)
    except (UserError, OSError):  # damaged or gone
        return False


def _is_covered(path: Path, contents: np.ndarray) -> bool:
    try:
        known = _contents(path)
    except UserError:  # of no use
        return True
    return bool(np.isin(known[known >= 0], contents).all())


def _contents(path: Path) -> np.ndarray:
    """Of each row that has a descriptor; negative for the others."""
    with reading(path) as file:
        return np.where(file.array("failed", "b", "N"), -1, file.array(CONTENTS, "i", "N"))


def _copied(source: Path, target: Path, wanted: np.ndarray, is_wanted: np.ndarray) -> np.ndarray:
    """Copies the descriptors of wanted images from one file to another; gives their rows as [N]."""
    there = _contents(source)
    order = np.argsort(there, kind="stable")
    places = np.searchsorted(there, wanted, sorter=order).clip(max=max(0, len(there) - 1))
    rows = order[places] if len(there) else places
    is_known = is_wanted & (wanted >= 0)
    is_known[is_known] = there[rows[is_known]] == wanted[is_known] if len(there) else False
    (of_source,), (of_target,) = (places_in(path, ("descriptors",)) for path in (source, target))
    if (of_source.shape[1:], of_source.dtype) != (of_target.shape[1:], of_target.dtype):
        return np.zeros(len(wanted), bool)
    known = np.flatnonzero(is_known)
    size = max(1, BLOCK_BYTES // max(1, of_source.of(1) - of_source.of(0)))
    for start in range(0, len(known), size):
        block = known[start : start + size]
        old = np.memmap(source, of_source.dtype, "r", of_source.start, of_source.shape)
        new = np.memmap(target, of_target.dtype, "r+", of_target.start, of_target.shape)
        new[block] = old[rows[block]]
        new.flush()
        for array in (old, new):
            forget(array)
    return is_known
