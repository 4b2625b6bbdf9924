"""Arrays of images on disk, kept from one run to the next."""

import fcntl
import hashlib
import json
import os
import shutil
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vprlib.pipeline.artifacts import reserve, write_json
from vprlib.pipeline.params import UserError
from vprlib.pipeline.runtime import RuntimeSettings

FOLDER = Path("artifacts/.store")
Say = Callable[[str], None]


@dataclass(frozen=True)
class Wish:
    """What is to be kept of each image of one source."""

    what: str  # for people
    key: str  # a digest of all that the values depend on
    shapes: np.ndarray  # [N, 3] of each image's array
    dtype: np.dtype

    @property
    def sizes(self) -> np.ndarray:
        return self.shapes.prod(axis=1) * self.dtype.itemsize

    @property
    def bytes(self) -> int:
        return int(self.sizes.sum())


class Shelf:
    """The arrays of one source by row; each is written once, and checked whenever it is read.

    Several processes may use it at once: whoever misses an array computes the same bytes.
    """

    def __init__(self, folder: Path, wish: Wish, lock: int) -> None:
        self.wish = wish
        self._lock = lock  # held as long as the shelf is
        self._file = os.open(folder / "values", os.O_RDWR)
        self._starts = np.concatenate([[0], wish.sizes.cumsum()])
        self._marks = np.memmap(folder / "marks", np.uint32, "r+", shape=(len(wish.shapes),))

    def get(self, row: int) -> np.ndarray | None:
        """The array of an image, or nothing where it is absent or damaged."""
        mark = int(self._marks[row])
        if not mark:
            return None
        values = np.empty(self.wish.shapes[row], self.wish.dtype)
        read = os.preadv(self._file, [values.reshape(-1).view(np.uint8)], int(self._starts[row]))
        return values if read == values.nbytes and _checksum(values) == mark else None

    def put(self, row: int, values: np.ndarray) -> None:
        values = np.ascontiguousarray(values, self.wish.dtype)
        assert values.shape == tuple(self.wish.shapes[row])
        os.pwrite(self._file, values.reshape(-1).view(np.uint8), int(self._starts[row]))
        self._marks[row] = _checksum(values)

    def close(self) -> None:
        os.close(self._file)
        os.close(self._lock)


@dataclass(frozen=True)
class Store:
    """A folder of shelves; those not used for longest go where the limit asks for it."""

    folder: Path
    limit_bytes: int
    say: Say

    def shelf(self, wish: Wish) -> Shelf | None:
        """The shelf, made where there is none; nothing where it would go beyond the limit."""
        if not self.limit_bytes:
            return None
        folder = self.folder / wish.key
        if not (folder / "about.json").exists():
            if not self._has_room(wish):
                return None
            self.say(f"store: {wish.what} take {gib(wish.bytes)} in {folder}")
        try:
            lock = _opened(folder, wish)
        except UserError as error:
            self.say(f"store: {error} Until then they are computed anew each time.")
            return None
        os.utime(folder)
        return Shelf(folder, wish, lock)

    def _has_room(self, wish: Wish) -> bool:
        """Whether it fits the limit and the disk, once what is not in use has gone."""
        reason = self._beyond_limit(wish)
        if not reason:
            kept = sorted(entries(self.folder), key=lambda entry: entry.stat().st_mtime)
            while (reason := self._obstacle(wish)) and kept:
                removed(kept.pop(0))
        if reason:
            self.say(
                f"store: {wish.what} would take {gib(wish.bytes)}, but {reason}:"
                " they are computed anew each time."
            )
        return not reason

    def _beyond_limit(self, wish: Wish) -> str:
        too_large = wish.bytes > self.limit_bytes
        return f"runtime.store_gib allows {gib(self.limit_bytes)}" if too_large else ""

    def _obstacle(self, wish: Wish) -> str:
        used = sum(size_of(entry) for entry in entries(self.folder))
        if used + wish.bytes > self.limit_bytes:
            return f"what is in use takes {gib(used)} of the {gib(self.limit_bytes)} allowed"
        self.folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.folder).free
        return f"the disk has {gib(free)} left" if wish.bytes > 0.9 * free else ""


NO_STORE = Store(FOLDER, 0, lambda sentence: None)


def store_at(folder: Path, runtime: RuntimeSettings, say: Say) -> Store:
    """`folder`, or runtime.store_dir in its place."""
    chosen = Path(runtime.store_dir) if runtime.store_dir else home(folder, Path.cwd())
    return Store(chosen, int(runtime.store_gib * 2**30), say)


def home(folder: Path, here: Path) -> Path:
    """A folder of the project, also for an experiment that DVC's queue runs in a copy of it."""
    parts = here.parts
    for place in range(len(parts) - 2):
        if parts[place : place + 3] == (".dvc", "tmp", "exps"):
            return Path(*parts[:place]) / folder
    return folder


def digest(*parts: object) -> str:
    """Of arrays by their bytes, of files by their content, and of all else as JSON."""
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


def entries(folder: Path) -> list[Path]:
    return [path for path in folder.glob("*") if (path / "about.json").exists()]


def size_of(entry: Path) -> int:
    return int(json.loads((entry / "about.json").read_text())["bytes"])


def _opened(folder: Path, wish: Wish) -> int:
    """The lock of a shelf that is there now, held together with its other readers."""
    while True:
        lock = _locked(folder, fcntl.LOCK_SH)
        if lock is not None and (folder / "about.json").exists():
            return lock
        if lock is not None:
            os.close(lock)
        lock = _locked(folder, fcntl.LOCK_EX)
        if lock is not None:
            try:
                _make(folder, wish)
            finally:
                os.close(lock)


def _make(folder: Path, wish: Wish) -> None:
    """The files of a shelf; `about.json` comes last and says that they are whole."""
    if (folder / "about.json").exists():
        return
    try:
        reserve(folder / "values", wish.bytes)
        reserve(folder / "marks", 4 * len(wish.shapes))
        about = {"what": wish.what, "images": len(wish.shapes), "bytes": wish.bytes}
        write_json(folder / "about.json", about)
    except UserError:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _locked(folder: Path, kind: int) -> int | None:
    """An open lock file, or nothing where the folder was cleared while it was waited for."""
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
    """Removes a shelf that nobody uses; says whether it did."""
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


def _checksum(values: np.ndarray) -> int:
    """Never 0, which marks what is absent."""
    return zlib.crc32(values.reshape(-1).view(np.uint8)) or 1


def gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**29 else f"{size / 2**20:.1f} MiB"
