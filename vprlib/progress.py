"""A progress bar on a terminal, silence in a log and in all processes of a group but one."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

from vprlib.runtime import member

Item = TypeVar("Item")


def progress(items: Iterable[Item], total: int, label: str, unit: str = "image") -> Iterator[Item]:
    silent = True if member().rank else None  # None: where there is no terminal
    return iter(tqdm(items, total=total, desc=label, unit=f" {unit}", disable=silent, leave=False))
