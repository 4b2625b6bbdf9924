"""A progress bar on a terminal, silence in a log."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")


def progress(items: Iterable[Item], total: int, label: str, unit: str = "image") -> Iterator[Item]:
    return iter(tqdm(items, total=total, desc=label, unit=f" {unit}", disable=None, leave=False))
