"""The page of `vpr serve` in a real browser, against a real service on a toy set."""

import shutil
from pathlib import Path

import pytest
import yaml
from evaluated import SET, photo
from served import HOSTILE, PLAIN, Service, running
from service_pages import OpenPage, ask, drop, violations
from toy import LOADER, write_params

sync_api = pytest.importorskip("playwright.sync_api", reason="needs `pip install playwright`")


@pytest.mark.parametrize(("width", "scheme"), [("wide", "light"), ("phone", "dark")])
def test_a_photograph_is_asked_and_shown(
    open_page: OpenPage, service: Service, width: str, scheme: str
) -> None:
    page = open_page(width, scheme)
    ask(page, 3, folder=service.folder)
    (expected,) = service.locate(service.folder / photo(3)).json["answers"]
    here = expected["estimate"]
    text = page.inner_text("#told")
    assert f"{here['latitude']:.6f}, {here['longitude']:.6f}" in text
    assert f"✓ {expected['verdict']}" in text
    heard = page.inner_text("#state")
    assert f"{photo(3).name}: {here['latitude']:.6f}, {here['longitude']:.6f}, " in heard
    assert heard.endswith(expected["verdict"])
    names = page.locator("#results .name").all_inner_texts()
    assert names == [result["database"] for result in expected["results"]]
    assert page.locator("#canvas .pin").count() == 5
    assert page.get_attribute("#told a", "href") == here["map"]
    assert violations(page) == []


def test_a_photograph_can_be_dropped(open_page: OpenPage, service: Service) -> None:
    page = open_page()
    drop(page, "drop.jpg", "image/jpeg", (service.folder / photo(0)).read_bytes())
    page.wait_for_selector("#answer:not([hidden])")
    assert "drop.jpg" in page.inner_text("#told")


def test_the_estimate_and_the_results_have_marks_of_their_own(
    open_page: OpenPage, service: Service
) -> None:
    page = open_page()
    ask(page, 3, folder=service.folder)
    (estimate,) = page.locator("#canvas .estimate").all()
    assert estimate.get_attribute("role") == "img"
    assert estimate.get_attribute("aria-label") == "Estimated position"
    assert "estimate" in page.inner_text("#legend")
    box = estimate.locator("svg").bounding_box()
    assert box["width"] > 2 * page.locator("#canvas .pin").first.bounding_box()["width"]
    depth = "(all) => Math.max(...all.map((one) => one.style.zIndex))"
    pins = page.locator("#canvas .pin").evaluate_all(depth)
    assert page.locator("#canvas .estimate").evaluate_all(depth) > pins
    labels = page.locator("#canvas .pin").all_inner_texts()
    assert labels == page.locator("#results .pin").all_inner_texts() and len(set(labels)) > 1
    places = page.locator("#results strong").all_inner_texts()
    assert places == [f"{n}. place {label}" for n, label in enumerate(labels, 1)]


def test_results_and_marks_light_each_other_up_and_keys_walk(
    open_page: OpenPage, service: Service
) -> None:
    page = open_page()
    ask(page, 3, folder=service.folder)
    page.locator("#results button").first.focus()

    def lit() -> str:
        return page.get_attribute("#canvas .pin.lit", "aria-label")

    assert lit() == "Result 1, place A"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    assert lit().startswith("Result 3, ")
    assert page.locator("#results .lit").count() == 1
    page.keyboard.press("ArrowUp")
    assert lit().startswith("Result 2, ")
    page.locator("#canvas .pin").nth(4).dispatch_event("mouseover")
    assert page.locator("#results button").nth(4).get_attribute("class") == "lit"


def test_several_photographs_are_chosen_from_a_strip(open_page: OpenPage, service: Service) -> None:
    page = open_page("phone")
    ask(page, 0, 3, 5, folder=service.folder)
    assert page.locator("#strip button").count() == 3
    first = page.inner_text("#told")
    page.locator("#strip button").nth(2).click()
    assert page.inner_text("#told") != first and photo(5).name in page.inner_text("#told")
    assert page.locator("#strip [aria-pressed=true]").count() == 1
    assert page.inner_text("#state").startswith(f"{photo(5).name}: ")


def test_options_are_sent(open_page: OpenPage, service: Service) -> None:
    page = open_page(may_fail=True)
    page.click("summary")
    assert page.is_visible("#around") and violations(page) == []
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


def test_names_are_text(open_page: OpenPage, service: Service, tmp_path: Path) -> None:
    page = open_page(may_fail=True)
    name = f"{HOSTILE}.jpg"
    shutil.copyfile(service.folder / photo(3), tmp_path / name)
    page.set_input_files("#choose", tmp_path / name)
    page.wait_for_selector("#answer:not([hidden])")
    assert name in page.inner_text("#told") and name in page.inner_text("#state")
    (tmp_path / name).write_text("no image")
    page.set_input_files("#choose", tmp_path / name)
    page.wait_for_selector("#problem:not([hidden])")
    assert page.inner_text("#problem") == f"{name} is not an image that can be read."
    drop(page, f"{HOSTILE}.txt", "text/plain", b"text")
    page.wait_for_function("document.getElementById('problem').textContent.includes('.txt')")
    assert page.inner_text("#problem") == f"{HOSTILE}.txt is not an image."
    assert page.locator("img[onerror]").count() == 0


def test_of_a_plain_folder_photographs_are_named_and_no_place(
    open_page: OpenPage, service: Service
) -> None:
    page = open_page(may_fail=True)
    page.click("summary")
    assert page.is_visible("#around")
    page.select_option("#map-of", label=f"{PLAIN}, trained, full")
    assert not page.is_visible("#around")
    assert page.inner_text("#about") == f"6 images of {PLAIN}"
    page.fill("#count", "6")
    ask(page, 3, folder=service.folder)
    names = page.locator("#results .name").all_inner_texts()
    assert len(names) == 6 and f"{HOSTILE}.jpg" in names
    assert page.inner_text("#results strong >> nth=0") == "1. position unknown"
    assert "positions of these images are not known" in page.inner_text("#told")
    assert "positions of these images are not known" in page.inner_text("#state")
    hidden = ("#canvas", "#legend", "#tiles", "#results .pin")
    assert not any(page.locator(one).first.is_visible() for one in hidden)
    assert violations(page) == []
    page.select_option("#map-of", label=f"{SET}, trained, w4")
    assert page.is_visible("#around")


def test_all_can_be_done_by_keyboard(open_page: OpenPage, service: Service) -> None:
    page = open_page("phone")
    page.on("filechooser", lambda _: None)  # from now on, since to begin takes a moment

    def tab_to(selector: str) -> None:
        for _ in range(40):
            page.keyboard.press("Tab")
            if page.evaluate("s => document.activeElement.matches(s)", selector):
                return
        raise AssertionError(f"Tab does not lead to {selector}")

    tab_to("summary")
    page.keyboard.press("Enter")
    tab_to("#count")
    page.keyboard.press("ArrowDown")  # four results
    tab_to(".skip")  # after the last comes the first
    page.keyboard.press("Enter")
    tab_to("#choose")
    with page.expect_file_chooser() as chosen:
        page.keyboard.press("Enter")
    chosen.value.set_files([service.folder / photo(row) for row in (0, 3)])
    page.wait_for_selector("#answer:not([hidden])")
    tab_to("#strip li:nth-child(2) button")
    page.keyboard.press("Enter")
    assert photo(3).name in page.inner_text("#told")
    assert page.evaluate("document.activeElement.getAttribute('aria-pressed')") == "true"
    tab_to("#told button")
    tab_to("#results button")
    for _ in range(9):
        page.keyboard.press("ArrowDown")
    last = page.locator("#results button").nth(3)
    assert page.locator("#results button").count() == 4
    assert last.get_attribute("class") == "lit"


def test_the_street_map_is_off_until_it_is_switched_on(
    open_page: OpenPage, service: Service
) -> None:
    page = open_page(may_fail=True)
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
    browser: "sync_api.Browser", open_page: OpenPage, project: Path
) -> None:
    tree = yaml.load((project / "params.yaml").read_text(), LOADER)
    tree["datasets"][SET]["utm_zone"] = None
    other = project.parent / "metres"
    shutil.copytree(project, other)
    write_params(other, tree)
    with running(other) as one:
        page = open_page(port=one.port)
        ask(page, 3, folder=other)
        assert "metres" in page.inner_text("#told") and page.locator("#canvas .pin").count() == 5
        assert not page.is_visible("#tiles") and not page.is_visible("#around")
