"""Progress bars: on a terminal only, and only of the first process of a group."""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from tqdm import tqdm

from vprlib.pipeline.runtime import member

Item = TypeVar("Item")


@contextmanager
def counting(total: int, label: str) -> Iterator[Callable[[int, int], None]]:
    """A bar of images; yields a function of how many more are done, and how many of them failed."""
    bar = tqdm(total=total, desc=label, unit=" image", disable=_silent(), leave=False)

    def count(more: int, failed: int) -> None:
        if failed:
            bar.set_postfix_str(f"{failed} unreadable", refresh=False)
        bar.update(more)

    with bar:
        yield count


def progress(items: Iterable[Item], total: int, label: str, unit: str = "image") -> Iterator[Item]:
    if total == 1:  # done as soon as it is shown
        return iter(items)
    unit = f" {unit}"
    return iter(tqdm(items, total=total, desc=label, unit=unit, disable=_silent(), leave=False))


def has_terminal() -> bool:
    """Whether progress bars are shown, and lines in a log are not needed."""
    return sys.stderr.isatty()


def _silent() -> bool | None:
    return True if member().rank else None  # None: unless there is a terminal
