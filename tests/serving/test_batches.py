"""Which photographs are answered together."""

import asyncio
import time
from collections.abc import Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from vprlib.cli.serving import batches as batches_module
from vprlib.cli.serving.answering import Asked
from vprlib.cli.serving.batches import Batches

ALONE, MORE = 0.1, 0.002  # seconds that one photograph takes, and each further one
PIXELS = np.zeros((1, 1, 3), np.uint8)


class Counting:
    """A map that notes how many photographs are answered together."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def locate(self, asked: Sequence[Asked]) -> list[dict[str, str]]:
        self.sizes.append(len(asked))
        time.sleep(ALONE + MORE * len(asked))
        return [{"photograph": one.name} for one in asked]


@pytest.fixture
def batches() -> Iterator[Batches]:
    opened = Batches()
    yield opened
    opened.close()


def run(steps: Coroutine[None, None, None]) -> None:
    """In a thread of its own: that of tests may have the browser's loop already."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, steps).result()


def ask(batches: Batches, clients: int, each: int, pause: float = 0.002) -> list[int]:
    """The sizes of the batches of clients that ask again a moment after they were answered."""
    counting = Counting()

    async def client(number: int) -> None:
        for _ in range(each):
            (found,) = await batches.answers(counting, [Asked(str(number), PIXELS, 5)])
            assert found["photograph"] == str(number)
            await asyncio.sleep(pause * (1 + number / clients))

    async def all_clients() -> None:
        await asyncio.gather(*(client(number) for number in range(clients)))

    run(all_clients())
    return counting.sizes


def test_clients_that_ask_again_together_are_answered_together(batches: Batches) -> None:
    sizes = ask(batches, 6, 12)
    assert np.mean(sizes[2:-2]) > 4.5


def test_a_client_alone_waits_for_nobody(batches: Batches, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches_module, "PATIENCE", 1000)
    start = time.monotonic()
    assert ask(batches, 1, 3) == [1] * 3
    assert time.monotonic() - start < 10


def test_what_is_given_up_while_others_are_waited_for_is_not_answered(
    batches: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches_module, "PATIENCE", 3)
    counting = Counting()

    async def given_up() -> None:
        together = [Asked("", PIXELS, 5)] * 8
        await batches.answers(counting, together)
        alone = asyncio.create_task(batches.answers(counting, [Asked("", PIXELS, 5)]))
        await asyncio.sleep(0.001)
        alone.cancel()
        await asyncio.sleep(3 * ALONE)

    run(given_up())
    assert counting.sizes == [8]
    assert ask(batches, 1, 2) == [1, 1]
