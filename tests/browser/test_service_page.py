"""The page of `vpr serve` in a real browser, against a real service on a toy set."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from evaluated import SET, photo
from served import TOKEN, Service, in_a_zone, start
from toy import LOADER, write_params

pytest.importorskip("fastapi", reason="needs `pip install -e '.[serve]'`")
sync_api = pytest.importorskip("playwright.sync_api", reason="needs `pip install playwright`")
AXE = Path(__file__).parent / "vendor" / "axe.min.js"
WIDTHS = {"wide": (1400, 900), "phone": (390, 844)}
Open = Callable[..., "sync_api.Page"]


@pytest.fixture(scope="module")
def project(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page") / "project"
    shutil.copytree(made, folder)
    in_a_zone(folder)
    (folder / "token").write_text(TOKEN)
    return folder


@pytest.fixture(scope="module")
def service(project: Path) -> Iterator[Service]:
    started = start(project)
    yield started
    started.process.kill()
    started.process.communicate()


@pytest.fixture
def opened(browser: "sync_api.Browser", service: Service) -> Iterator[Open]:
    """Opens the page; at the end nothing may have been said or asked for elsewhere."""
    said: list[str] = []
    contexts = []

    def open_page(
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

    yield open_page
    for context in contexts:
        context.close()
    assert not said


def own(address: str, home: str) -> bool:
    return address.startswith((home, "data:", f"blob:{home}"))


def ask(page: "sync_api.Page", *rows: int, folder: Path) -> None:
    page.set_input_files("#choose", [folder / photo(row) for row in rows])
    page.wait_for_selector("#answer:not([hidden])")
    page.locator("#results img[src]").nth(4).wait_for()


@pytest.mark.parametrize(("width", "scheme"), [("wide", "light"), ("phone", "dark")])
def test_a_photograph_is_asked_and_shown(
    opened: Open, service: Service, width: str, scheme: str
) -> None:
    page = opened(width, scheme)
    ask(page, 3, folder=service.folder)
    (expected,) = service.locate(service.folder / photo(3)).json["answers"]
    here = expected["estimate"]
    text = page.inner_text("#told")
    assert f"{here['latitude']:.6f}, {here['longitude']:.6f}" in text
    assert f"✓ {expected['verdict']}" in text
    names = page.locator("#results .name").all_inner_texts()
    assert names == [result["database"] for result in expected["results"]]
    assert page.locator("#canvas .pin").count() == 5
    assert page.get_attribute("#told a", "href") == here["map"]
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    assert [v["id"] for v in found["violations"]] == []


def test_a_photograph_can_be_dropped(opened: Open, service: Service) -> None:
    page = opened()
    content = (service.folder / photo(0)).read_bytes()
    drop = """bytes => {
        const given = new DataTransfer();
        given.items.add(new File([new Uint8Array(bytes)], "drop.jpg", {type: "image/jpeg"}));
        document.dispatchEvent(new DragEvent("drop", {dataTransfer: given, bubbles: true}));
    }"""
    page.evaluate(drop, list(content))
    page.wait_for_selector("#answer:not([hidden])")
    assert "drop.jpg" in page.inner_text("#told")


def test_results_and_marks_light_each_other_up_and_keys_walk(
    opened: Open, service: Service
) -> None:
    page = opened()
    ask(page, 3, folder=service.folder)
    page.locator("#results button").first.focus()
    assert page.inner_text("#canvas .pin.lit") == "1"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    assert page.inner_text("#canvas .pin.lit") == "3"
    assert page.locator("#results .lit").count() == 1
    page.keyboard.press("ArrowUp")
    assert page.inner_text("#canvas .pin.lit") == "2"
    page.locator("#canvas .pin").nth(4).dispatch_event("mouseover")
    assert page.locator("#results button").nth(4).get_attribute("class") == "lit"


def test_several_photographs_are_chosen_from_a_strip(opened: Open, service: Service) -> None:
    page = opened("phone")
    ask(page, 0, 3, 5, folder=service.folder)
    assert page.locator("#strip button").count() == 3
    first = page.inner_text("#told")
    page.locator("#strip button").nth(2).click()
    assert page.inner_text("#told") != first and photo(5).name in page.inner_text("#told")
    assert page.locator("#strip [aria-pressed=true]").count() == 1


def test_options_are_sent(opened: Open, service: Service) -> None:
    page = opened(may_fail=True)
    page.click("summary")
    page.fill("#count", "3")
    page.select_option("#map-of", label=f"{SET}, trained, w4")
    page.set_input_files("#choose", service.folder / photo(3))
    page.wait_for_selector("#answer:not([hidden])")
    assert page.locator("#results button").count() == 3
    assert "? not calibrated" in page.inner_text("#told")
    page.fill("#near", "1.5, 2.5")
    with page.expect_response("**/v1/locate"):
        page.set_input_files("#choose", service.folder / photo(3))
    page.wait_for_selector("#problem:not([hidden])")
    assert "no image of the map lies within 500 m" in page.inner_text("#problem")


def test_names_are_text(opened: Open, service: Service, tmp_path: Path) -> None:
    page = opened(may_fail=True)
    name = "<img src=x onerror=alert(1)>.jpg"
    shutil.copyfile(service.folder / photo(3), tmp_path / name)
    page.set_input_files("#choose", tmp_path / name)
    page.wait_for_selector("#answer:not([hidden])")
    assert name in page.inner_text("#told")
    (tmp_path / name).write_text("no image")
    page.set_input_files("#choose", tmp_path / name)
    page.wait_for_selector("#problem:not([hidden])")
    assert page.inner_text("#problem") == f"{name} is not an image that can be read."


@pytest.mark.slow
def test_a_token_is_asked_for_and_kept(browser: "sync_api.Browser", project: Path) -> None:
    guarded = start(project, "--token-file", "token", token=TOKEN)
    context = browser.new_context(http_credentials={"username": "", "password": TOKEN})
    page = context.new_page()
    page.goto(f"http://127.0.0.1:{guarded.port}/")
    page.wait_for_selector("html[data-ready=yes]")
    ask(page, 3, folder=project)  # the browser's own form has the token for the whole page
    guarded.process.kill()
    guarded.process.communicate()
    page.set_input_files("#choose", project / photo(3))
    page.wait_for_selector("#problem:not([hidden])")
    assert "cannot be reached" in page.inner_text("#problem")
    assert page.is_visible("#again")
    context.close()


@pytest.mark.parametrize(("status", "said"), [(503, "waiting"), (401, "token")])
def test_a_refusal_is_told_and_can_be_mended(
    opened: Open, service: Service, status: int, said: str
) -> None:
    page = opened(may_fail=True)
    answer = {"status": status, "json": {"error": f"Something is {said}."}}
    page.route("**/v1/locate", lambda route: route.fulfill(**answer))
    page.set_input_files("#choose", service.folder / photo(3))
    page.wait_for_selector("#problem:not([hidden])")
    assert page.inner_text("#problem") == f"Something is {said}."
    page.unroute("**/v1/locate")
    if status == 503:
        page.click("#again")
    else:
        page.fill("#token", "any")
        page.keyboard.press("Enter")
        assert page.evaluate("sessionStorage.getItem('token')") == "any"
    page.wait_for_selector("#answer:not([hidden])")


def test_the_street_map_is_off_until_it_is_switched_on(opened: Open, service: Service) -> None:
    page = opened(may_fail=True)
    ask(page, 3, folder=service.folder)
    assert not page.is_checked("#tiles")
    asked: list[str] = []

    def tile(route: "sync_api.Route") -> None:
        asked.append(route.request.url)
        route.abort()

    page.route("https://tile.openstreetmap.org/**", tile)
    page.check("#tiles")
    page.wait_for_timeout(300)
    assert asked
    page.uncheck("#tiles")
    assert page.locator(".leaflet-tile").count() == 0


@pytest.mark.slow
def test_without_degrees_metres_are_drawn(
    browser: "sync_api.Browser", opened: Open, project: Path
) -> None:
    tree = yaml.load((project / "params.yaml").read_text(), LOADER)
    tree["datasets"][SET]["utm_zone"] = None
    other = project.parent / "metres"
    shutil.copytree(project, other)
    write_params(other, tree)
    one = start(other)
    page = opened(port=one.port)
    ask(page, 3, folder=other)
    assert "metres" in page.inner_text("#told") and page.locator("#canvas .pin").count() == 5
    assert not page.is_visible("#tiles") and not page.is_visible("#around")
    one.process.kill()
    one.process.communicate()
