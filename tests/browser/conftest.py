"""A real browser on the page of a drawn set, and on that of a service.

It must say nothing and ask for nothing outside.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from served import Service, copied, running, with_plain
from service_pages import OpenPage

from vprlib.cli.report.command import main
from vprlib.pipeline import paths

sync_api = pytest.importorskip("playwright.sync_api", reason="needs `pip install playwright`")
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")
WIDTHS = {"wide": (1400, 900), "phone": (390, 844)}


@pytest.fixture(scope="session")
def browser() -> Iterator["sync_api.Browser"]:
    if CHROMIUM is None:
        pytest.skip("there is no Chromium: `apt-get install chromium`, or set CHROMIUM")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="session")
def page_of() -> Callable[[Path], Path]:
    """Writes the page of a project; gives its first file."""

    def make(folder: Path, others: Sequence[str] = ()) -> Path:
        before = Path.cwd()
        os.chdir(folder)
        main(out=paths.PAGE, archive=None, baseline=None, others=list(others), pictures=4000)
        os.chdir(before)
        return folder / paths.PAGE / "index.html"

    return make


@pytest.fixture(scope="session")
def index(
    drawn: Path, page_of: Callable[[Path], Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("page") / "project"
    shutil.copytree(drawn, folder)
    return page_of(folder)


@pytest.fixture
def opened(browser: "sync_api.Browser", index: Path) -> Iterator[Callable[..., "sync_api.Page"]]:
    """Opens a view; at the end nothing may have been said or asked for."""
    said: list[str] = []
    contexts = []

    def note(text: str) -> None:
        if not text.startswith(("file:", "data:")):
            said.append(text)

    def open_view(view: str, width: str = "wide", scheme: str = "light") -> "sync_api.Page":
        across, down = WIDTHS[width]
        context = browser.new_context(
            viewport={"width": across, "height": down}, color_scheme=scheme
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: said.append(error.message))
        page.on("dialog", lambda dialog: said.append(f"dialog: {dialog.message}"))
        page.on("request", lambda request: note(request.url))
        page.goto(f"{index.as_uri()}#{view}")
        page.wait_for_selector(f"html[data-ready={view}]")
        return page

    yield open_view
    for context in contexts:
        context.close()
    assert not said


@pytest.fixture(scope="session")
def project(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """To be served: a set with positions, and one of a plain folder."""
    folder = copied(made, tmp_path_factory.mktemp("page") / "project")
    with_plain(folder)
    return folder


@pytest.fixture(scope="session")
def service(project: Path) -> Iterator[Service]:
    pytest.importorskip("fastapi", reason="needs `pip install -e '.[serve]'`")
    with running(project) as started:
        yield started


@pytest.fixture
def open_page(browser: "sync_api.Browser", service: Service) -> Iterator[OpenPage]:
    """Opens the page of a service; at the end nothing may have been said or asked for elsewhere."""
    said: list[str] = []
    contexts = []

    def own(address: str, home: str) -> bool:
        return address.startswith((home, "data:", f"blob:{home}"))

    def open_it(
        width: str = "wide", scheme: str = "light", port: int = 0, may_fail: bool = False
    ) -> "sync_api.Page":
        home = f"http://127.0.0.1:{port or service.port}/"
        across, down = WIDTHS[width]
        size = {"width": across, "height": down}
        context = browser.new_context(viewport=size, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: said.append(error.message))
        page.on("dialog", lambda dialog: said.append(f"dialog: {dialog.message}"))
        if not may_fail:  # a refusal is told on the console too
            page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
            page.on("request", lambda r: None if own(r.url, home) else said.append(r.url))
        page.goto(home)
        page.wait_for_selector("html[data-ready=yes]")
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert not said
