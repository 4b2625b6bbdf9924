"""Photographs the page for docs/report.md: `python -m benchmarks.screenshots [index.html]`."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from vprlib.pipeline import paths

if TYPE_CHECKING:
    from playwright.sync_api import Page

ROOT = Path(__file__).parents[1]
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
SIZE = {"width": 1280, "height": 800}


def _nothing(page: "Page") -> None:
    page.wait_for_timeout(300)


def _surest_mistake(page: "Page") -> None:
    """The first query of the gallery, on the map, with the last calibrated threshold."""
    name = page.evaluate(
        """async () => {
          const data = await page.loadRun(page.state.set, page.state.run);
          const isWrong = (query) => page.category(data.answers, query) !== "correct";
          return data.set.names.queries[Array.from(data.order).find(isWrong)];
        }"""
    )
    page.locator("#targets button").last.click()
    page.fill("#search-name", name)
    page.keyboard.press("Enter")
    page.evaluate("scrollTo(0, 0)")
    page.wait_for_timeout(500)


VIEWS: dict[str, Callable[["Page"], None]] = {
    "table": _nothing,
    "map": _surest_mistake,
    "gallery": _nothing,
    "compare": _nothing,
}


def main(index: Path) -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for view, prepare in VIEWS.items():
            page = browser.new_page(viewport=SIZE)
            page.goto(f"{index.absolute().as_uri()}#{view}")
            page.wait_for_selector(f"html[data-ready={view}]")
            prepare(page)
            path = ROOT / f"docs/report-{view}.jpg"
            page.screenshot(path=path, type="jpeg", quality=82)
            print(f"{path}: {path.stat().st_size >> 10} KiB")
            page.close()
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else paths.PAGE / "index.html")
