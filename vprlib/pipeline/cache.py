"""A cache on disk of what was computed from images: the least recently used entries go first."""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from vprlib.pipeline.artifacts import write_json
from vprlib.pipeline.json_files import read_json
from vprlib.pipeline.params import UserError
from vprlib.pipeline.paths import CACHE
from vprlib.pipeline.runtime import RuntimeSettings

Say = Callable[[str], None]
ABOUT = "about.json"  # of an entry; written last, so that it marks the entry as complete


@dataclass(frozen=True)
class About:
    """What an entry holds, for people."""

    what: str
    images: int
    bytes: int


@dataclass(frozen=True)
class Cache:
    """A folder of entries; the least recently used are evicted to stay within the limit."""

    folder: Path
    limit_bytes: int
    say: Say

    def open(
        self, key: str, about: About, fill: Callable[[Path], None], is_large: bool = True
    ) -> int | None:
        """A lock on the entry, which `fill` makes if it is missing; None if it does not fit.

        What is large is announced before it is written.
        """
        if not self.limit_bytes:
            return None
        folder = self.folder / key
        if not (folder / ABOUT).exists():
            if not self._has_room(about):
                return None
            if is_large:
                self.say(f"cache: {about.what} take {gib(about.bytes)} in {folder}")
        try:
            lock = _open_entry(folder, about, fill)
        except UserError as error:
            self.say(f"cache: {error} Until then they are recomputed each time.")
            return None
        os.utime(folder)
        return lock

    def keep(self, key: str, about: About, fill: Callable[[Path], None]) -> bool:
        """Puts a small entry in the place of the one before, unless that is in use.

        Returns whether there is one now.
        """
        if not self.limit_bytes:
            return False
        removed(self.folder / key)
        lock = self.open(key, about, fill, is_large=False)
        if lock is not None:
            os.close(lock)
        return lock is not None

    @contextmanager
    def reading(self, key: str) -> Iterator[Path | None]:
        """The folder of an entry, kept while it is read; None if there is nothing to use."""
        entry = self.folder / key
        lock = _locked(entry, fcntl.LOCK_SH) if self.limit_bytes and entry.exists() else None
        try:
            is_there = lock is not None and (entry / ABOUT).exists()
            if is_there:
                os.utime(entry)
            yield entry if is_there else None
        finally:
            if lock is not None:
                os.close(lock)

    def _has_room(self, about: About) -> bool:
        """Whether it fits the limit and the disk, after evicting entries that are not in use."""
        reason = f"runtime.cache_gib allows {gib(self.limit_bytes)}"
        if about.bytes <= self.limit_bytes:
            kept = sorted(entries(self.folder), key=lambda entry: entry.stat().st_mtime)
            while (reason := self._obstacle(about.bytes)) and kept:
                removed(kept.pop(0))
        if reason:
            self.say(
                f"cache: {about.what} would take {gib(about.bytes)}, but {reason}:"
                " they are recomputed each time."
            )
        return not reason

    def _obstacle(self, size: int) -> str:
        used = sum(told_of(entry).bytes for entry in entries(self.folder))
        if used + size > self.limit_bytes:
            return f"what is in use takes {gib(used)} of the {gib(self.limit_bytes)} allowed"
        self.folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.folder).free
        return f"the disk has {gib(free)} left" if size > 0.9 * free else ""


NO_CACHE = Cache(CACHE, 0, lambda sentence: None)


def cache_at(folder: Path, runtime: RuntimeSettings, say: Say) -> Cache:
    """The cache in runtime.cache_dir if that is set, else in `folder`."""
    chosen = Path(runtime.cache_dir) if runtime.cache_dir else home(folder, Path.cwd())
    return Cache(chosen, int(runtime.cache_gib * 2**30), say)


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


def sources(*packages: str) -> list[Path]:
    """The code of these packages, on which values in the cache depend."""
    here = Path(__file__).parents[1]
    return [path for name in packages for path in sorted((here / name).rglob("*.py"))]


def entries(folder: Path, prefix: str = "") -> list[Path]:
    return [path for path in folder.glob(f"{prefix}*") if (path / ABOUT).exists()]


def told_of(entry: Path) -> About:
    """What an entry says of itself; a damaged one is what it takes."""
    try:
        return read_json(entry / ABOUT, About)
    except UserError:
        sizes = [path.stat().st_size for path in entry.iterdir()]
        return About(f"damaged: no {ABOUT} that can be read", 0, sum(sizes))


def _open_entry(folder: Path, about: About, fill: Callable[[Path], None]) -> int:
    """A shared lock on the entry, which is filled if it is missing."""
    while True:
        lock = _locked(folder, fcntl.LOCK_SH)
        if lock is not None and (folder / ABOUT).exists():
            return lock
        if lock is not None:
            os.close(lock)
        lock = _locked(folder, fcntl.LOCK_EX)
        if lock is None:
            continue
        try:
            if not (folder / ABOUT).exists():
                fill(folder)
                write_json(folder / ABOUT, asdict(about))
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
