"""A cache on disk of one array per image: the outputs of frozen layers, or decoded images."""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vprlib.pipeline.arrays import checksum, raw_bytes
from vprlib.pipeline.artifacts import reserve, write_json
from vprlib.pipeline.json_files import read_json
from vprlib.pipeline.params import UserError
from vprlib.pipeline.paths import CACHE
from vprlib.pipeline.runtime import RuntimeSettings

Say = Callable[[str], None]


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


@dataclass(frozen=True)
class FeatureCache:
    """A folder of cache entries; the least recently used are evicted to stay within the limit."""

    folder: Path
    limit_bytes: int
    say: Say

    def open(self, spec: CacheSpec) -> CacheFile | None:
        """The entry, created if needed; None if it does not fit: then nothing is cached."""
        if not self.limit_bytes:
            return None
        folder = self.folder / spec.key
        if not (folder / "about.json").exists():
            if not self._has_room(spec):
                return None
            self.say(f"cache: {spec.what} take {gib(spec.bytes)} in {folder}")
        try:
            lock = _open_entry(folder, spec)
        except UserError as error:
            self.say(f"cache: {error} Until then they are recomputed each time.")
            return None
        os.utime(folder)
        return CacheFile(folder, spec, lock)

    def _has_room(self, spec: CacheSpec) -> bool:
        """Whether it fits the limit and the disk, after evicting entries that are not in use."""
        reason = f"runtime.cache_gib allows {gib(self.limit_bytes)}"
        if spec.bytes <= self.limit_bytes:
            kept = sorted(entries(self.folder), key=lambda entry: entry.stat().st_mtime)
            while (reason := self._obstacle(spec)) and kept:
                removed(kept.pop(0))
        if reason:
            self.say(
                f"cache: {spec.what} would take {gib(spec.bytes)}, but {reason}:"
                " they are recomputed each time."
            )
        return not reason

    def _obstacle(self, spec: CacheSpec) -> str:
        used = sum(size_of(entry) for entry in entries(self.folder))
        if used + spec.bytes > self.limit_bytes:
            return f"what is in use takes {gib(used)} of the {gib(self.limit_bytes)} allowed"
        self.folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.folder).free
        return f"the disk has {gib(free)} left" if spec.bytes > 0.9 * free else ""


NO_CACHE = FeatureCache(CACHE, 0, lambda sentence: None)


def cache_at(folder: Path, runtime: RuntimeSettings, say: Say) -> FeatureCache:
    """The cache in runtime.cache_dir if that is set, else in `folder`."""
    chosen = Path(runtime.cache_dir) if runtime.cache_dir else home(folder, Path.cwd())
    return FeatureCache(chosen, int(runtime.cache_gib * 2**30), say)


def home(folder: Path, here: Path) -> Path:
    """The folder in the project itself, also if DVC's queue runs an experiment in a copy of it."""
    project, copies, _ = f"{here.as_posix()}/".partition("/.dvc/tmp/exps/")
    return Path(f"{project}/") / folder if copies else folder


def digest(*parts: object) -> str:
    """Hashes arrays by their bytes, files by their content, and everything else as JSON."""
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            content = part.read_bytes()
        elif isinstance(part, np.ndarray):
            content = f"{part.dtype} {part.shape}".encode() + np.ascontiguousarray(part).tobytes()
        else:
            content = json.dumps(part, sort_keys=True, default=str).encode()
        total.update(hashlib.sha256(content).digest())
    return total.hexdigest()[:24]


@dataclass(frozen=True)
class About:
    """What an entry holds."""

    what: str
    images: int
    bytes: int


def entries(folder: Path) -> list[Path]:
    return [path for path in folder.glob("*") if (path / "about.json").exists()]


def size_of(entry: Path) -> int:
    return read_json(entry / "about.json", About).bytes


def _open_entry(folder: Path, spec: CacheSpec) -> int:
    """A shared lock on the entry, which is created if it is missing."""
    while True:
        lock = _locked(folder, fcntl.LOCK_SH)
        if lock is not None and (folder / "about.json").exists():
            return lock
        if lock is not None:
            os.close(lock)
        lock = _locked(folder, fcntl.LOCK_EX)
        if lock is None:
            continue
        try:
            if not (folder / "about.json").exists():
                reserve(folder / "values", spec.bytes)
                reserve(folder / "marks", 4 * len(spec.shapes))
                about = {"what": spec.what, "images": len(spec.shapes), "bytes": spec.bytes}
                write_json(folder / "about.json", about)  # last: it marks the entry as complete
        except UserError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        finally:
            os.close(lock)


def _locked(folder: Path, kind: int) -> int | None:
    """An open lock file; None if the entry was removed while waiting for the lock."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, kind)
    try:
        if (folder / "lock").stat().st_ino == os.fstat(lock).st_ino:
            return lock
    except FileNotFoundError:
        pass
    os.close(lock)
    return None


def removed(entry: Path) -> bool:
    """Removes an entry unless it is in use; returns whether it did."""
    try:
        lock = os.open(entry / "lock", os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(entry, ignore_errors=True)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return True


def gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**29 else f"{size / 2**20:.1f} MiB"
