"""What the page of `vpr serve` says and offers when it does not get what it asks for."""

import re
from pathlib import Path

import pytest
from evaluated import photo
from served import TOKEN, Service, running, start
from service_pages import OpenPage, ask, drop, violations

sync_api = pytest.importorskip("playwright.sync_api", reason="needs `pip install playwright`")
FULL = {
    "status": 503,
    "headers": {"retry-after": "60"},
    "json": {"error": "Too many photographs are waiting: try again in a moment."},
}

TOKEN_FORM = "input", "button"


def problem(page: "sync_api.Page", text: str) -> None:
    sync_api.expect(page.locator("#problem")).to_have_text(re.compile(text))


def test_a_photograph_is_shown_while_it_is_asked(open_page: OpenPage, service: Service) -> None:
    page = open_page(may_fail=True)
    held: list[sync_api.Route] = []
    page.route("**/v1/locate", lambda route: held.append(route))
    page.set_input_files("#choose", service.folder / photo(3))
    shown = page.locator("#strip img")
    sync_api.expect(shown).to_be_visible()
    assert shown.evaluate("image => image.decode().then(() => image.naturalWidth)") == 80
    assert page.inner_text("#state") == "Asking about 1 photograph …"
    held[0].continue_()
    page.wait_for_selector("#answer:not([hidden])")
    assert not page.is_visible("#strip") and page.is_visible("#photo")


def test_a_file_that_is_no_image_is_told_at_once(open_page: OpenPage, service: Service) -> None:
    page = open_page()
    drop(page, "notes.txt", "text/plain", b"some text")
    problem(page, "^notes.txt is not an image.$")
    assert not page.is_visible("#strip") and not page.is_visible("#again")
    drop(page, "nothing.jpg", "image/jpeg", b"")
    problem(page, "^nothing.jpg is empty.$")
    page.evaluate(
        "document.dispatchEvent(new DragEvent('drop', {dataTransfer: new DataTransfer()}))"
    )
    problem(page, "^Only files can be dropped here.$")
    page.set_input_files("#choose", [service.folder / photo(3), service.folder / "params.yaml"])
    page.wait_for_selector("#answer:not([hidden])")
    problem(page, "^params.yaml is not an image.$")  # and the other is answered


@pytest.mark.parametrize("width", ["wide", "phone"])
def test_a_full_service_is_asked_again_when_it_says(
    open_page: OpenPage, service: Service, width: str
) -> None:
    page = open_page(width, may_fail=True)
    asked: list[str] = []

    def refuse(route: "sync_api.Route") -> None:
        asked.append(route.request.method)
        route.fulfill(**FULL)

    page.clock.install()
    page.route("**/v1/locate", refuse)
    page.set_input_files("#choose", service.folder / photo(3))
    left = page.locator("#left")
    sync_api.expect(left).to_have_text(re.compile("^Asking again in (60|5[0-9]) s$"))
    assert page.inner_text("#state") == FULL["json"]["error"]
    assert violations(page) == []
    page.clock.run_for(20_000)
    sync_api.expect(left).to_have_text(re.compile("^Asking again in [1-4][0-9] s$"))
    assert len(asked) == 1
    page.clock.run_for(45_000)
    sync_api.expect(left).to_have_text(re.compile("^Asking again in (60|5[0-9]) s$"))
    assert len(asked) == 2
    page.click("#stop")
    assert not page.is_visible("#wait") and page.is_visible("#again")
    problem(page, "^Too many photographs")
    page.clock.run_for(90_000)
    page.evaluate("fetch('/v1/health').then((answer) => answer.status)")  # after any other request
    assert len(asked) == 2
    page.unroute("**/v1/locate")
    page.click("#again")
    page.wait_for_selector("#answer:not([hidden])")
    assert not page.is_visible("#problem") and not page.is_visible("#again")


def test_a_wait_ends_with_an_answer_or_another_photograph(
    open_page: OpenPage, service: Service
) -> None:
    page = open_page(may_fail=True)
    page.clock.install()
    page.route("**/v1/locate", lambda route: route.fulfill(**FULL))
    page.set_input_files("#choose", service.folder / photo(3))
    page.wait_for_selector("#wait:not([hidden])")
    page.unroute("**/v1/locate")
    held: list[sync_api.Route] = []
    page.route("**/v1/locate", lambda route: held.append(route))
    with page.expect_request("**/v1/locate"):
        page.set_input_files("#choose", service.folder / photo(5))
    assert not page.is_visible("#wait")
    page.clock.run_for(2000)
    left = page.locator("#left").text_content()
    page.clock.run_for(90_000)
    assert page.locator("#left").text_content() == left and len(held) == 1
    held[0].continue_()
    page.wait_for_selector("#answer:not([hidden])")
    assert photo(5).name in page.inner_text("#told") and not page.is_visible("#wait")


def test_a_service_that_fails_at_the_start_is_asked_again(
    open_page: OpenPage, service: Service
) -> None:
    page = open_page(may_fail=True)
    page.route("**/v1/maps", lambda route: route.abort())
    page.reload()
    page.wait_for_selector("html[data-ready=yes]")
    problem(page, "cannot be reached")
    assert violations(page) == []
    page.click("#again")
    problem(page, "cannot be reached")
    page.unroute("**/v1/maps")
    page.click("#again")
    sync_api.expect(page.locator("#about")).to_have_text("12 images of toy_val")
    assert not page.is_visible("#problem") and not page.is_visible("#again")


def test_an_older_map_is_told_of(open_page: OpenPage, service: Service) -> None:
    page = open_page(may_fail=True)
    maps = service.ask("/v1/maps").json
    assert page.inner_text("#newer") == ""
    why = "a newer run is not finished: artifacts/models/trained.safetensors is missing"
    for one in maps["maps"]:
        one["waiting"] = why if one["code"] == "full" else None
    page.route("**/v1/maps", lambda route: route.fulfill(json=maps))
    ask(page, 3, folder=service.folder)
    sync_api.expect(page.locator("#newer")).to_have_text(f"This is still the older map: {why}.")
    page.click("summary")
    page.select_option("#map-of", label="toy_val, trained, w4")
    assert page.inner_text("#newer") == ""


def test_pictures_of_a_replaced_map_are_told_of(open_page: OpenPage, service: Service) -> None:
    page = open_page(may_fail=True)
    said = "The map has been replaced since: ask again."
    page.route("**/v1/images/**", lambda route: route.fulfill(status=404, json={"error": said}))
    page.set_input_files("#choose", service.folder / photo(3))
    problem(page, f"^Pictures of the results are missing. {said}$")
    sync_api.expect(page.locator("#results .nothing")).to_have_text([said] * 5)
    assert page.locator("#results img").count() == 0 and violations(page) == []
    page.unroute("**/v1/images/**")
    page.click("#again")
    page.locator("#results img[src]").nth(4).wait_for()
    assert not page.is_visible("#problem") and not page.is_visible("#again")


def test_pictures_without_the_token_are_asked_for_again_with_it(
    open_page: OpenPage, service: Service
) -> None:
    page = open_page(may_fail=True)

    def guard(route: "sync_api.Route") -> None:
        if route.request.headers.get("authorization") == f"Bearer {TOKEN}":
            route.continue_()
        else:
            route.fulfill(status=401, json={"error": "no"})

    page.route("**/v1/images/**", guard)
    page.set_input_files("#choose", service.folder / photo(3))
    problem(page, "^This service needs its token.$")
    assert page.locator("#results .nothing").count() == 5
    page.keyboard.type("“no”")  # into the field, which has the focus
    page.keyboard.press("Enter")
    problem(page, "^This is not the token of the service.$")
    page.keyboard.type(TOKEN)
    page.keyboard.press("Enter")
    page.locator("#results img[src]").nth(4).wait_for()
    assert not page.is_visible("#problem") and not page.is_visible("#token-form")


@pytest.mark.slow
def test_a_token_is_asked_for_and_kept(browser: "sync_api.Browser", project: Path) -> None:
    guarded = start(project, "--token-file", "token", token=TOKEN)
    context = browser.new_context(http_credentials={"username": "", "password": TOKEN})
    page = context.new_page()
    page.goto(f"http://127.0.0.1:{guarded.port}/")
    page.wait_for_selector("html[data-ready=yes]")
    ask(page, 3, folder=project)  # the browser's own form has the token for the whole page
    guarded.kill()
    page.set_input_files("#choose", project / photo(3))
    page.wait_for_selector("#problem:not([hidden])")
    assert "cannot be reached" in page.inner_text("#problem")
    assert page.is_visible("#again")
    context.close()


@pytest.mark.slow
@pytest.mark.parametrize(("width", "scheme"), [("wide", "light"), ("phone", "dark")])
def test_the_token_of_the_form_outlives_a_reload(
    open_page: OpenPage, project: Path, width: str, scheme: str
) -> None:
    with running(project, "--token-file", "token", token=TOKEN) as guarded:
        page = open_page(width, scheme, may_fail=True)

        def with_token(route: "sync_api.Route") -> None:  # as the browser's own form sends it
            route.continue_(headers={**route.request.headers, **guarded.headers})

        def unasked(route: "sync_api.Route") -> None:  # as if that form had been closed
            answer = route.fetch()
            kept = {k: v for k, v in answer.headers.items() if k != "www-authenticate"}
            route.fulfill(response=answer, headers=kept)

        page.route(re.compile(r"/$|/static/|/shared/"), with_token)
        page.route("**/v1/maps", unasked)
        page.goto(f"http://127.0.0.1:{guarded.port}/")
        problem(page, "^This service needs its token.$")
        assert violations(page) == []
        field, button = (page.locator(f"#token-form {one}").bounding_box() for one in TOKEN_FORM)
        assert abs(field["y"] - button["y"]) < 2 and field["width"] > 200
        page.keyboard.type("another token")
        page.keyboard.press("Enter")
        problem(page, "^This is not the token of the service.$")
        page.keyboard.type(TOKEN)
        page.keyboard.press("Enter")
        sync_api.expect(page.locator("#token-form")).to_be_hidden()
        page.unroute("**/v1/maps")
        page.reload()
        page.wait_for_selector("html[data-ready=yes]")
        assert not page.is_visible("#token-form") and not page.is_visible("#problem")
        ask(page, 3, folder=project)
