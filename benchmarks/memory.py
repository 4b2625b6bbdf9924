"""The largest memory of a process and all below it: what Linux calls their proportional share."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SECONDS_BETWEEN = 0.25


@dataclass
class Peak:
    kib: int = 0

    @property
    def mib(self) -> float:
        return self.kib / 1024


@contextmanager
def watching(pid: int) -> Iterator[Peak]:
    """Looks at the processes four times a second until the body ends."""
    peak, is_over = Peak(), threading.Event()

    def watch() -> None:
        while not is_over.wait(SECONDS_BETWEEN):
            peak.kib = max(peak.kib, sum(map(share_kib, family(pid))))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        is_over.set()
        thread.join()


def family(pid: int) -> list[int]:
    """The process and all those that descend from it."""
    found = [pid]
    for member in found:  # grows as children are found
        found += [int(child) for text in _children(member) for child in text.split()]
    return found


def share_kib(pid: int) -> int:
    """Pages shared with others count in part; a process that has ended counts nothing."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def _children(pid: int) -> list[str]:
    texts = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            texts.append(path.read_text())
        except OSError:  # the thread has ended since
            continue
    return texts
