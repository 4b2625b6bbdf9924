"""Services that tests share."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from served import TOKEN, Service, copied, running, start

pytest.importorskip("fastapi", reason="needs `pip install -e '.[serve]'`")


@pytest.fixture(scope="session")
def place(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copied(made, tmp_path_factory.mktemp("served") / "project")


@pytest.fixture(scope="session")
def service(place: Path) -> Iterator[Service]:
    """Shared by tests that change nothing."""
    with running(place) as started:
        yield started


@pytest.fixture(scope="session")
def guarded(place: Path) -> Iterator[Service]:
    """One with a token and narrow limits."""
    narrow = ("--max-mb", "0.3", "--max-megapixels", "1", "--max-seconds", "1.5")
    options = ("--host", "0.0.0.0", "--token-file", "token", "--max-waiting", "3", *narrow)
    with running(place, *options, token=TOKEN) as started:
        yield started


@pytest.fixture
def starting() -> Iterator[Callable[..., Service]]:
    """Services of one test alone."""
    started: list[Service] = []

    def begin(folder: Path, *options: str) -> Service:
        started.append(start(folder, *options))
        return started[-1]

    yield begin
    for one in started:
        one.kill()
