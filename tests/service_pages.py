"""What tests of the page of `vpr serve` share."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from evaluated import photo

if TYPE_CHECKING:
    from playwright.sync_api import Page

AXE = Path(__file__).parent / "browser" / "vendor" / "axe.min.js"
OpenPage = Callable[..., "Page"]


def ask(page: "Page", *rows: int, folder: Path) -> None:
    page.set_input_files("#choose", [folder / photo(row) for row in rows])
    page.wait_for_selector("#answer:not([hidden])")
    page.locator("#results img[src]").nth(4).wait_for()


def drop(page: "Page", name: str, kind: str, content: bytes) -> None:
    page.evaluate(
        """([name, type, bytes]) => {
        const dataTransfer = new DataTransfer();
        dataTransfer.items.add(new File([new Uint8Array(bytes)], name, {type}));
        document.dispatchEvent(new DragEvent("drop", {dataTransfer, bubbles: true}));
    }""",
        [name, kind, list(content)],
    )


def violations(page: "Page") -> list[str]:
    """Of the rules of accessibility that axe knows, and of the width of the screen."""
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    fits = page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    return [v["id"] for v in found["violations"]] + ["wider than the screen"] * (not fits)
