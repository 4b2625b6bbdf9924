"""What an earlier look found in image files: those that have not changed are not opened again."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

from vprlib.pipeline.artifacts import write_bytes
from vprlib.pipeline.cache import About, Cache, digest, sources
from vprlib.pipeline.progress import progress

YOUNG_S = 2  # a file this young may change once more and keep its times
FILE = "found.json"
# bytes, times of content and of entry, place on the disk, and what else the finding depends on
Stamp = tuple[int, int, int, int, int, str]
Found = TypeVar("Found")


@dataclass
class Seen(Generic[Found]):
    """The stamp of each file by its path, and what was found in it."""

    before: dict[str, tuple[Stamp, Found]] = field(default_factory=dict)
    now: dict[str, tuple[Stamp, Found]] = field(default_factory=dict)

    def look(
        self,
        paths: Sequence[Path],
        open_file: Callable[[int], Found | str],
        workers: int,
        label: str,
        also: Sequence[object] = (),
    ) -> list[Found | str]:
        """What `open_file` finds in each; a problem is text, and looked at again each time."""
        names = [str(path) for path in paths]
        about = [repr(what) for what in also] or [""] * len(paths)
        stamps = [_stamp(path, what) for path, what in zip(paths, about, strict=True)]
        settled = 1e9 * (time.time() - YOUNG_S)
        known = [self.before.get(name, (None, None)) for name in names]
        found: list[Any] = [what for _, what in known]
        is_known = [s is not None and s == k for s, (k, _) in zip(stamps, known, strict=True)]
        todo = [n for n, it_is in enumerate(is_known) if not it_is]
        with ThreadPoolExecutor(max(1, workers)) as pool:
            opened = progress(pool.map(open_file, todo), len(todo), label)
            for n, what in zip(todo, opened, strict=True):
                found[n] = what
        for name, stamp, what in zip(names, stamps, found, strict=True):
            if stamp is not None and not isinstance(what, str) and max(stamp[1:3]) < settled:
                self.now[name] = (stamp, what)
        return found


def _stamp(path: Path, about: str) -> Stamp | None:
    """What the system says of a file that is not opened; None where there is none."""
    try:
        told = path.stat()
    except (OSError, ValueError):
        return None
    return told.st_size, told.st_mtime_ns, told.st_ctime_ns, told.st_ino, told.st_dev, about


@contextmanager
def remembering(cache: Cache, what: str, set_name: str, kind: type[Found]) -> Iterator[Seen[Found]]:
    """What the last look at this set found; at the end, what this one found takes its place."""
    own = TypeAdapter(dict[str, tuple[Stamp, kind]])  # type: ignore[valid-type]
    key = f"seen-{digest(what, set_name, str(Path.cwd()), *sources('images'))}"
    seen = Seen[Found]()
    with cache.reading(key) as entry:
        if entry:
            with suppress(ValidationError, OSError):  # as if there were none
                seen.before = own.validate_json((entry / FILE).read_bytes())
    yield seen
    if seen.now != seen.before:
        content = own.dump_json(seen.now)
        told = f"{what} of {len(seen.now)} images of {set_name}"
        about = About(told, len(seen.now), len(content))
        cache.keep(key, about, lambda folder: write_bytes(folder / FILE, content))
