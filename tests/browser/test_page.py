"""Every view, filter, click, key and slider of the page, in a real browser at two widths."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import reported
import toy
from reported import ODD_NAME, RUNS, SET

from vprlib.evaluate.failures import CATEGORIES
from vprlib.images.index import read_index, write_index
from vprlib.pipeline import paths
from vprlib.places.truth import Listed, Near, listed_arrays

VIEWS = ("table", "map", "gallery", "compare", "about")
AXE = (Path(__file__).parent / "vendor/axe.min.js").read_text()
TRAINED = ("trained", "full")
QUERIES = 120


def metrics(drawn, kind, run=TRAINED):
    return json.loads((drawn / paths.result_metrics(kind, SET, *run)).read_text())


def count_of(share):
    return round(QUERIES * share)


@pytest.mark.parametrize(("width", "scheme"), [("wide", "light"), ("phone", "dark")])
def test_no_view_has_a_mistake_that_axe_finds(opened, width, scheme):
    for view in VIEWS:
        page = opened(view, width, scheme)
        page.evaluate(AXE)
        assert not mistakes(page), view
        if view in ("gallery", "compare"):
            page.locator(".cell button").first.click()
            assert not mistakes(page), f"viewer of {view}"


def mistakes(page):
    """What axe finds; it must not load style sheets, which the page's policy forbids."""
    found = page.evaluate("axe.run({ preload: false })")["violations"]
    return [(one["id"], [node["html"][:120] for node in one["nodes"]]) for one in found]


@pytest.mark.parametrize("width", ["wide", "phone"])
def test_no_view_is_wider_than_the_window(opened, width):
    for view in VIEWS:
        page = opened(view, width)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), view
        assert page.locator("nav [aria-current]").get_attribute("data-view") == view
        assert page.locator("#problem").is_hidden()


def test_links_and_the_history_lead_through_the_views(opened):
    page = opened("table")
    for view in VIEWS[1:]:
        page.click(f"nav [data-view={view}]")
        page.wait_for_selector(f"html[data-ready={view}]")
        assert page.locator("main > section:visible").get_attribute("data-view") == view
    page.go_back()
    page.wait_for_selector("html[data-ready=compare]")
    assert page.locator("h1:visible").inner_text() == "Compare two runs"


def rows(page):
    return [
        [re.sub(r"\s+", " ", cell.inner_text()) for cell in row.locator("td:visible").all()]
        for row in page.locator("#recalls tbody tr").all()
    ]


def test_the_table_shows_recall_and_the_difference_of_compare(opened, drawn, vpr, monkeypatch):
    monkeypatch.chdir(drawn)
    page = opened("table")
    told = json.loads(vpr("compare", "off_the_shelf", "trained", "--json")[1])
    change = told["pairs"][0]["differences"]["recall@1"]
    recall = metrics(drawn, "recall")
    row = rows(page)[2]
    assert row[:4] == [SET, "trained", "full", str(QUERIES)]
    assert row[4] == "{:.1f} {:.1f}–{:.1f}".format(
        *(100 * recall[f"recall@1{end}"] for end in ("", "_low", "_high"))
    )
    ends = [f"{100 * change[end]:+.1f}".replace("-", "−") for end in ("value", "low", "high")]
    assert row[5] == "{} {} to {}".format(*ends)
    assert page.locator("#leaks").inner_text() == (
        "drawn: LEAK: 2 queries of drawn are copied in city_train"
    )
    page.select_option("#baseline", "trained/full")
    turned = rows(page)[0][5].split()
    assert turned[0] == f"{-100 * change['value']:+.1f}".replace("-", "−")
    assert rows(page)[2][5] == "baseline"
    page.select_option("#baseline", "")
    assert page.locator("#recalls th", has_text="Δ").count() == 0


def test_a_table_has_what_a_descriptor_costs_where_it_is_known(opened):
    page = opened("table")
    assert page.locator("#costs").is_hidden()
    sizes = {"dimensions": 30720, "descriptor_bytes": 122880, "network_bytes": 2.36e6}
    page.evaluate(
        "(sizes) => { page.summary.runs[1].sizes = sizes; page.views.table.start(); }", sizes
    )
    cells = [cell.inner_text() for cell in page.locator("#cost-table tbody td").all()]
    assert re.sub(r"\s+", " ", cells[0]) == f"off_the_shelf/w128 {SET}"
    assert cells[1:] == ["30,720", "122,880", "2.4", "–"]


def test_the_table_is_sorted_by_any_column(opened, drawn):
    page = opened("table")
    values = [100 * metrics(drawn, "recall", run)["recall@1"] for run in RUNS]
    button = page.locator("#recalls button", has_text=re.compile(r"^R@1$"))
    for order, sign in (("descending", -1), ("ascending", 1)):
        button.click()
        head = page.locator("#recalls th", has_text=re.compile(r"^R@1 ")).first
        assert head.get_attribute("aria-sort") == order
        shown = [float(row[4].split()[0]) for row in rows(page)]
        assert shown == [round(v, 1) for v in sorted(values, key=lambda v: sign * v)]
        button = head.locator("button")
        assert button.evaluate("(one) => one === document.activeElement")


def test_curves_are_drawn_and_named(opened):
    page = opened("table")
    for name in ("recall", "loss", "epochs"):
        chart = page.locator(f"#{name}-chart")
        assert chart.locator("canvas").count() == 1
        assert chart.locator("[role=img]").get_attribute("aria-label")
    assert page.locator("#recall-chart li").all_inner_texts() == ["/".join(run) for run in RUNS]


@pytest.mark.parametrize("width", ["wide", "phone"])
def test_the_map_counts_outcomes_and_the_slider_takes_answers_away(opened, drawn, width):
    page = opened("map", width)
    shares = metrics(drawn, "failures")["shares"]
    for name in ("correct", "near_miss", "lower_rank", "far", "unanswerable"):
        assert page.locator(f".count-{name}").inner_text() == str(count_of(shares[name]))
    before = canvas(page)
    for percent, at in metrics(drawn, "confidence")["at_threshold"].items():
        page.get_by_role("button", name=f"{percent} %").click()
        said = page.locator("#answered").inner_text().replace("\xa0", " ")
        assert f"{at['answered']} of {QUERIES} answered" in said
        assert f"precision {100 * at['precision']:.1f} %, recall {100 * at['recall']:.1f} %" in said
        assert page.locator(".count-unsure").inner_text() == str(QUERIES - at["answered"])
    assert canvas(page) != before
    page.focus("#threshold")
    page.keyboard.press("End")
    assert f"0 of {QUERIES} answered" in page.locator("#answered").inner_text()
    page.keyboard.press("Home")
    assert f"{QUERIES} of {QUERIES} answered" in page.locator("#answered").inner_text()
    assert canvas(page) == before


def canvas(page):
    page.wait_for_timeout(60)  # a frame or two
    return page.evaluate("document.querySelector('canvas.points').toDataURL()")


def test_a_click_on_the_map_shows_the_query_and_what_was_found(opened):
    page = opened("map")
    assert "Click a query" in page.locator("#map-query").inner_text()
    before = canvas(page)
    page.fill("#search-name", "drawn_q000007")
    page.keyboard.press("Enter")
    name = page.locator("#map-query h2").inner_text()
    assert name == "000/drawn_q000007.jpg" and canvas(page) != before
    page.evaluate("scrollTo(0, 0)")
    box, point = page.locator("#canvas").bounding_box(), page.evaluate("page.views.map.pointOf(11)")
    page.mouse.click(box["x"] + point["x"], box["y"] + point["y"])
    assert page.locator("#map-query h2").inner_text() == "000/drawn_q000011.jpg"
    assert page.locator("#map-query .results .picture").count() == 10
    assert page.locator("#map-query .pair img").count() == 2
    assert "distance 0." in page.locator("#map-query .results").inner_text()
    page.fill("#search-name", "nobody")
    page.get_by_role("button", name="Show", exact=True).click()
    assert "No query" in page.locator("#map-query").inner_text()


def test_the_map_zooms_by_buttons_and_keys(opened):
    page = opened("map")
    before = canvas(page)
    page.get_by_role("button", name="Zoom in").click()
    nearer = canvas(page)
    page.focus("#canvas")
    page.keyboard.press("ArrowLeft")
    page.wait_for_timeout(400)
    assert len({before, nearer, canvas(page)}) == 3


def test_streets_come_only_when_they_are_asked_for(opened, browser, index):
    opened("map")  # checks that nothing is asked for
    context = browser.new_context()
    asked = []
    page = context.new_page()
    page.on("request", lambda request: asked.append(request.url))
    page.route(re.compile("^https:"), lambda route: route.fulfill(status=204))
    page.goto(f"{index.as_uri()}#map")
    page.wait_for_selector("html[data-ready=map]")
    page.wait_for_timeout(200)
    assert not [url for url in asked if url.startswith("http")]
    with page.expect_request(re.compile("^https:")):
        page.check("#tiles")
    outside = [url for url in asked if url.startswith("http")]
    assert all(url.startswith("https://tile.openstreetmap.org/") for url in outside)
    assert "OpenStreetMap" in page.locator(".leaflet-control-attribution").inner_text()
    context.close()


def test_another_run_is_counted_anew(opened, drawn):
    page = opened("map")
    page.select_option("[data-view=map] [data-state=run]", "off_the_shelf/w128")
    shares = metrics(drawn, "failures", ("off_the_shelf", "w128"))["shares"]
    page.wait_for_selector("html[data-ready=map]")
    assert page.locator(".count-correct").inner_text() == str(count_of(shares["correct"]))
    assert "off_the_shelf%2Fw128" in page.url


def gallery_count(page):
    return int(page.locator("#gallery-count").inner_text().split()[0])


@pytest.mark.parametrize("width", ["wide", "phone"])
def test_the_gallery_filters_by_outcome_and_facts(opened, drawn, width):
    page = opened("gallery", width)
    failures = metrics(drawn, "failures")
    shares = failures["shares"]
    mistakes = ("near_miss", "lower_rank", "far")
    assert gallery_count(page) == sum(count_of(shares[name]) for name in mistakes)
    for name in ("correct", "unanswerable"):
        page.check(f"#outcomes input[value={name}]")
    assert gallery_count(page) == QUERIES
    for name, labels in failures["slices"].items():
        for label, part in labels.items():
            page.select_option(f"#facts select[name={name}]", label)
            assert gallery_count(page) == part["queries"]
            right = page.locator("#outcomes label:has(input[value=correct]) b").inner_text()
            assert int(right) == round(part["recall@1"] * part["queries"])
        page.select_option(f"#facts select[name={name}]", "")


def test_the_surest_mistake_comes_first_and_keys_walk_on(opened):
    page = opened("gallery")
    cards = page.locator("#cards button")
    names = cards.evaluate_all("(all) => all.map((one) => one.dataset.name)")
    scores = [
        float(text.split()[1])
        for text in cards.locator(".foot > .small:not(.name)").all_inner_texts()
    ]
    assert scores == sorted(scores, reverse=True) and len(scores) > 4
    page.locator("#cards button").first.focus()
    for key, at in (("ArrowRight", 1), ("ArrowDown", 4), ("ArrowLeft", 3), ("ArrowUp", 0)):
        page.keyboard.press(key)
        assert page.evaluate("document.activeElement.dataset.name") == names[at]
    page.keyboard.press("Enter")
    assert page.locator("#place").inner_text() == f"1 of {gallery_count(page)}"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.locator("#viewer h2").inner_text() == names[2]
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Escape")
    assert page.locator("#viewer").is_hidden()
    assert page.evaluate("document.activeElement.dataset.name") == names[1]


def test_only_cards_in_sight_exist(opened):
    page = opened("gallery", "phone")
    page.check("#outcomes input[value=correct]")
    for _ in range(5):
        page.evaluate("scrollBy(0, 4000)")
        page.wait_for_timeout(60)
        assert 0 < page.locator("#cards .cell").count() < 40
    last = page.locator("#cards .cell").last
    assert last.get_attribute("aria-setsize") == str(gallery_count(page))


def test_pictures_that_are_not_there_show_their_name(opened):
    page = opened("gallery")
    page.evaluate("page.loadSet('drawn').then((set) => set.pictures.queries.clear())")
    page.check("#outcomes input[value=correct]")
    assert page.locator("#cards .nameless").first.inner_text().endswith(".jpg")


def test_names_are_never_read_as_html(opened):
    page = opened("map")
    page.fill("#search-name", "onerror")
    page.keyboard.press("Enter")
    assert page.locator("#map-query h2").inner_text() == ODD_NAME
    assert page.locator("#map-query img[src=x]").count() == 0


@pytest.mark.parametrize("width", ["wide", "phone"])
def test_two_runs_are_compared_as_by_the_command(opened, drawn, vpr, monkeypatch, width):
    monkeypatch.chdir(drawn)
    told = json.loads(vpr("compare", "off_the_shelf", "trained", "--json")[1])["pairs"][0]
    page = opened("compare", width)
    for n in (1, 5):
        page.select_option("#compare-n", str(n))
        found = told["differences"][f"recall@{n}"]
        for kind in ("gained", "lost", "both_wrong", "both_right"):
            page.check(f"#kinds input[value={kind}]")
            label = page.locator(f"#kinds label:has(input[value={kind}]) b")
            assert label.inner_text() == str(found[kind])
            assert page.locator("#compare-count").inner_text().startswith(f"{found[kind]} quer")
        said = page.locator("#test").inner_text()
        assert f"{100 * abs(found['value']):.1f} points" in said
        assert f"p = {found['p']:.3f}" in said or (found["p"] < 0.001 and "p < 0.001" in said)
    page.select_option("#compare-n", "1")
    page.check("#kinds input[value=gained]")
    names = {entry["name"] for entry in told["gained"]}
    page.locator("#pairs button").first.click()
    shown = page.locator("#viewer article h2").all_inner_texts()
    assert shown[0] == shown[1] and shown[0] in names


@pytest.mark.parametrize("width", [1400, 390])
def test_a_run_of_another_revision_is_compared_and_named_as_text(
    browser, drawn_here, page_of, vpr, width
):
    reported.with_history()
    toy.git("branch", "<b>old")
    index = page_of(drawn_here, ["<b>old"])
    told = json.loads(vpr("compare", "<b>old:trained", "trained", "--json")[1])["pairs"][0]
    page = browser.new_page(viewport={"width": width, "height": 850})
    page.goto(f"{index.as_uri()}#compare")
    page.wait_for_selector("html[data-ready=compare]")
    page.select_option("[data-view=compare] [data-state=against]", "<b>old:trained/full")
    page.get_by_text("train.epochs 6 → 99").wait_for()
    found = told["differences"]["recall@1"]
    for kind in ("gained", "lost", "both_wrong", "both_right"):
        label = page.locator(f"#kinds label:has(input[value={kind}]) b")
        assert label.inner_text() == str(found[kind])
    assert f"{100 * abs(found['value']):.1f} points" in page.locator("#test").inner_text()
    page.click("nav [data-view=table]")
    page.wait_for_selector("html[data-ready=table]")
    assert any("<b>old:trained" in cell for row in rows(page) for cell in row)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.click("nav [data-view=about]")
    said = page.locator("[data-view=about]:visible").last.inner_text()
    assert "Draw <b>a set</b>" in said and "train.epochs" in said
    page.close()


def test_a_second_look_is_shown_before_and_after(browser, drawn_here, page_of):
    reported.look_again()
    told = metrics(drawn_here, "rerank")
    page = browser.new_page()
    page.goto(f"{page_of(drawn_here).as_uri()}#table")
    page.wait_for_selector("html[data-ready=table]")
    row = page.locator("#second-look-table tbody tr").nth(1).inner_text()
    before, after = (100 * told[side]["recall@1"] for side in ("before", "after"))
    change = told["difference"]["recall@1"]
    page.evaluate(AXE)
    assert not mistakes(page)
    assert "trained/full" in row and f"{before:.1f} → {after:.1f}" in row
    ends = f"{100 * change['value']:+.1f} ({100 * change['low']:+.1f} to"
    assert ends.replace("-", "−") in re.sub(r"\s+", " ", row)
    page.click("nav [data-view=compare]")
    page.select_option("[data-view=compare] [data-state=against]", "trained/full")
    page.select_option("[data-view=compare] [data-state=run]", "trained/full + second look")
    for kind in ("gained", "lost"):
        label = page.locator(f"#kinds label:has(input[value={kind}]) b")
        label.get_by_text(re.compile(f"^{change[kind]}$")).wait_for()
    page.check("#kinds input[value=gained]")
    page.locator("#pairs button").first.click()
    plain, again = page.locator("#viewer section .results").all_inner_texts()
    assert "inliers" in again and "inliers" not in plain
    page.close()


def test_what_was_run_is_told(opened, index):
    page = opened("about")
    said = page.locator("[data-view=about]:visible").last.inner_text()
    assert "LEAK: 2 queries of drawn are copied in city_train" in said
    assert "drawn_missing.txt: 1" in said and "no git repository" in said
    page.get_by_text("params.yaml", exact=True).click()
    assert "eval_on:" in page.locator("pre").first.inner_text()


def test_colours_can_be_switched_and_every_outcome_has_its_own(opened):
    page = opened("map")
    paper = "getComputedStyle(document.body).backgroundColor"
    light, before = page.evaluate(paper), canvas(page)
    page.get_by_role("button", name="Use dark colours").click()
    assert page.evaluate(paper) != light and canvas(page) != before
    page.get_by_role("button", name="Use light colours").click()
    assert page.evaluate(paper) == light and canvas(page) == before
    looks = page.evaluate(
        "(all) => all.map((n) => page.colour(n) + page.outcomes[n].shape)", CATEGORIES
    )
    assert len({*looks}) == len(CATEGORIES)


def test_a_link_keeps_set_and_runs_and_an_unknown_one_is_mended(opened, index):
    page = opened("table")
    for hash_, run in (
        ("#gallery?run=trained%2Fw128", "trained/w128"),
        ("#gallery?run=x&set=y", "trained/full"),
    ):
        page.goto("about:blank")
        page.goto(index.as_uri() + hash_)
        page.wait_for_selector("html[data-ready=gallery]")
        assert page.locator("[data-view=gallery] [data-state=run]").input_value() == run


def test_a_set_without_positions_has_no_map_and_all_else(opened, browser, drawn_here, page_of):
    database, queries = (read_index(paths.index(SET, side)) for side in ("db", "queries"))
    right = Near(queries.positions, database.positions, 25.0).positives()
    lists = listed_arrays(Listed(right, right, right, len(database)))
    for side, index, truth in (("db", database, None), ("queries", queries, lists)):
        nowhere = replace(index, positions=np.full(index.positions.shape, np.nan))
        write_index(paths.index(SET, side), nowhere, truth=truth)
    page = browser.new_page()
    page.goto(f"{page_of(drawn_here).as_uri()}#map")
    page.wait_for_selector("html[data-ready=map]")
    assert page.locator("#map-note").inner_text() == "This set has no positions."
    assert page.locator("#canvas").is_hidden() and page.locator("#tiles").is_hidden()
    page.fill("#search-name", "q000007")
    page.keyboard.press("Enter")
    assert "position unknown" in page.locator("#map-query").inner_text()
    page.click("nav [data-view=gallery]")
    page.wait_for_selector("html[data-ready=gallery]")
    assert page.locator("#facts select").count() == 2 and gallery_count(page) > 0
    page.close()


def test_a_page_without_its_data_says_so(opened, browser, index, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(index.parent, broken)
    (broken / "data/run-2.js").unlink()
    page = browser.new_page()
    page.goto(f"{(broken / 'index.html').as_uri()}#map")
    page.wait_for_selector("#problem:visible")
    assert "data/run-2.js cannot be read" in page.locator("#problem").inner_text()
    page.close()
