"""Answers photographs in small batches: what waits while one is described makes up the next.

Clients that were answered together ask again together, a little later. Where a batch was of
several, the next one waits for as many, for a part of the time that the last one took: a
photograph costs less among others. A client alone waits for nobody.
"""

import asyncio
import threading
import time
import traceback
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from vprlib.cli.serving.answering import Answering, Asked
from vprlib.pipeline.params import JsonObject, UserError

AT_ONCE = 32  # photographs
PATIENCE = 0.25  # of the time that the last batch took
Future = asyncio.Future[JsonObject]


class FullError(Exception):
    """As much waits already as may wait."""


@dataclass(frozen=True)
class _Waiting:
    asked: Asked
    map: Answering
    loop: asyncio.AbstractEventLoop
    future: Future

    def done(self, found: JsonObject | Exception) -> None:
        """Called from the thread that answers."""
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._finish, found)

    def _finish(self, found: JsonObject | Exception) -> None:
        if self.future.done():  # given up meanwhile
            return
        if isinstance(found, Exception):
            self.future.set_exception(found)
        else:
            self.future.set_result(found)


class Batches:
    """One thread that describes and searches; photographs of one map are answered together."""

    def __init__(self) -> None:
        self._waiting: deque[_Waiting] = deque()
        self._changed = threading.Condition()
        self._is_open = True
        self._last, self._took = 1, 0.0  # photographs of the last batch, and its seconds
        self._thread = threading.Thread(target=self._run, name="answers", daemon=True)
        self._thread.start()

    async def answers(self, map_: Answering, asked: Sequence[Asked]) -> list[JsonObject]:
        """The answers, in order; raises the error of the first that has one."""
        loop = asyncio.get_running_loop()
        futures: list[Future] = [loop.create_future() for _ in asked]
        with self._changed:
            if not self._is_open:
                raise FullError
            for one, future in zip(asked, futures, strict=True):
                self._waiting.append(_Waiting(one, map_, loop, future))
            self._changed.notify()
        try:
            return list(await asyncio.gather(*futures))
        finally:
            self._drop({id(one) for one in asked})

    def close(self) -> None:
        with self._changed:
            self._is_open = False
            self._changed.notify()
        self._thread.join()

    def _drop(self, numbers: set[int]) -> None:
        """Takes out what nobody waits for any more."""
        with self._changed:
            if any(id(one.asked) in numbers for one in self._waiting):
                kept = [one for one in self._waiting if id(one.asked) not in numbers]
                self._waiting = deque(kept)

    def _run(self) -> None:
        while batch := self._next():
            start = time.monotonic()
            _answer(batch)
            self._last, self._took = len(batch), time.monotonic() - start
            del batch  # so that a map that was replaced can go

    def _next(self) -> list[_Waiting]:
        """What waits for the same map as the first; nothing at the end."""
        with self._changed:
            while self._is_open and not self._waiting:
                self._changed.wait()
                self._wait_for_others()  # none is left where all were given up meanwhile
            if not self._waiting:
                return []
            first = self._waiting[0].map
            batch: list[_Waiting] = []
            later: deque[_Waiting] = deque()
            for one in self._waiting:
                fits = one.map is first and len(batch) < AT_ONCE
                (batch if fits else later).append(one)
            self._waiting = later
            return batch

    def _wait_for_others(self) -> None:
        end = time.monotonic() + PATIENCE * self._took
        while self._is_open and len(self._waiting) < self._last:
            if (left := end - time.monotonic()) <= 0:
                return
            self._changed.wait(left)


def _answer(batch: Sequence[_Waiting]) -> None:
    """Where a batch fails, each photograph is tried alone, so that one cannot spoil the others."""
    try:
        found: Sequence[JsonObject | Exception] = batch[0].map.locate([one.asked for one in batch])
    except Exception as error:
        if len(batch) > 1:
            for one in batch:
                _answer([one])
            return
        if not isinstance(error, UserError | MemoryError):
            traceback.print_exc()  # a mistake of our own, for the log alone
        found = [error]
    for one, what in zip(batch, found, strict=True):
        one.done(what)
