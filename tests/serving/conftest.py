"""Services that tests share."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from served import TOKEN, Service, in_a_zone, start

pytest.importorskip("fastapi", reason="needs `pip install -e '.[serve]'`")


@pytest.fixture(scope="session")
def place(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served") / "project"
    shutil.copytree(made, folder)
    in_a_zone(folder)
    return folder


@pytest.fixture(scope="session")
def service(place: Path) -> Iterator[Service]:
    """Shared by tests that change nothing."""
    started = start(place)
    yield started
    started.process.kill()
    started.process.communicate()


@pytest.fixture(scope="session")
def guarded(place: Path) -> Iterator[Service]:
    """One with a token and narrow limits."""
    (place / "token").write_text(f"{TOKEN}\n")
    narrow = ("--max-mb", "0.3", "--max-megapixels", "1", "--max-seconds", "1.5")
    options = ("--host", "0.0.0.0", "--token-file", "token", "--max-waiting", "3", *narrow)
    started = start(place, *options, token=TOKEN)
    yield started
    started.process.kill()
    started.process.communicate()


@pytest.fixture
def starting() -> Iterator[Callable[..., Service]]:
    """Services of one test alone."""
    started: list[Service] = []

    def begin(folder: Path, *options: str) -> Service:
        started.append(start(folder, *options))
        return started[-1]

    yield begin
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
            one.process.communicate()
