"""Adds up the seconds that the parts of a run take; a part within another counts once."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

import torch

T = TypeVar("T")
P = ParamSpec("P")


class Stopwatch:
    """`seconds` by part; while an inner part runs, the outer one stands still.

    `settle` waits for what a device has been told to do.
    """

    def __init__(self, settle: Callable[[], None] = lambda: None) -> None:
        self.settle = settle
        self.seconds: dict[str, float] = {}
        self._inner: list[float] = []  # seconds of the parts within each one that is running

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        self.settle()
        start = time.perf_counter()
        self._inner.append(0.0)
        try:
            yield
        finally:
            self.settle()
            whole = time.perf_counter() - start
            own = whole - self._inner.pop()
            self.seconds[name] = self.seconds.get(name, 0.0) + own
            if self._inner:
                self._inner[-1] += whole

    @classmethod
    def of(cls, device: torch.device) -> "Stopwatch":
        return cls(torch.cuda.synchronize) if device.type == "cuda" else cls()

    def waiting(self, name: str, items: Iterator[T]) -> Iterator[T]:
        """The items; the time until each of them is there belongs to the part."""
        while True:
            with self.part(name):
                try:
                    item = next(items)
                except StopIteration:
                    return
            yield item

    def timed(self, name: str, call: Callable[P, T]) -> Callable[P, T]:
        """The same function, whose time belongs to the part."""

        def within(*args: P.args, **others: P.kwargs) -> T:
            with self.part(name):
                return call(*args, **others)

        return within
