"""The page of the built-in city counts as its metrics and `vpr compare` do.

It needs a checkout where `dvc repro` has run, as `.ci/run` makes one.
"""

import json
import os
from pathlib import Path

import pytest

from vprlib.cli.report.command import main
from vprlib.pipeline import paths

sync_api = pytest.importorskip("playwright.sync_api", reason="needs `pip install playwright`")
ROOT = Path(__file__).parents[2]
SETS = ("city_test", "city_val")
OUTCOMES = ("correct", "near_miss", "lower_rank", "far", "unanswerable")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (ROOT / paths.predictions("city_test", "trained", "full")).exists(),
        reason="`dvc repro` has not run in this checkout",
    ),
]


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    folder = tmp_path_factory.mktemp("city") / "page"
    before = Path.cwd()
    os.chdir(ROOT)
    main(out=folder, archive=None, baseline=None, pictures=100)
    os.chdir(before)
    return folder / "index.html"


@pytest.mark.parametrize("width", ["wide", "phone"])
@pytest.mark.parametrize("name", SETS)
def test_outcomes_are_those_of_the_metrics(opened, name, width):
    page = opened("map", width)
    page.select_option("#view-map [data-state=set]", label=name)
    for variant in ("off_the_shelf", "trained"):
        page.select_option("#view-map [data-state=run]", label=f"{variant}/full")
        path = ROOT / paths.result_metrics("failures", name, variant, "full")
        told = json.loads(path.read_text())
        for outcome in OUTCOMES:
            count = round(told["shares"][outcome] * told["queries"])
            shown = page.locator(f".count-{outcome}")
            if count:  # waits until the data of this run are there
                sync_api.expect(shown).to_have_text(str(count))
            else:
                assert shown.all_inner_texts() in ([], ["0"]), outcome


@pytest.mark.parametrize("name", SETS)
def test_two_networks_are_compared_as_by_the_command(opened, vpr, monkeypatch, name):
    monkeypatch.chdir(ROOT)
    told = json.loads(vpr("compare", "off_the_shelf", "trained", "--set", name, "--json")[1])
    page = opened("compare")
    page.select_option("#view-compare [data-state=set]", label=name)
    page.select_option("#view-compare [data-state=against]", label="off_the_shelf/full")
    page.select_option("#view-compare [data-state=run]", label="trained/full")
    for n in (1, 5):
        page.select_option("#compare-n", str(n))
        found = told["pairs"][0]["differences"][f"recall@{n}"]
        for kind in ("gained", "lost", "both_wrong", "both_right"):
            label = page.locator(f"#kinds label:has(input[value={kind}]) b")
            sync_api.expect(label).to_have_text(str(found[kind]))
