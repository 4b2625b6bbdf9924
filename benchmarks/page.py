"""Measures `vpr report` on a large drawn set of two variants or more, in two codes each.

`python -m benchmarks.page [queries] [database] [variants]`
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.drawn_results import ROOT, Size, draw
from benchmarks.memory import watching
from vprlib.pipeline import paths

READY = "html"  # carries the name of the view that is drawn
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
PICTURES = 8000  # that differ
FRAMES = 150  # of scrolling
CODES = ("full", "w128")
SCROLL = """async (frames) => {
  const times = [];
  let last = performance.now();
  for (let frame = 0; frame < frames; frame++) {
    scrollBy(0, 160);
    await new Promise(requestAnimationFrame);
    times.push(performance.now() - last);
    last = performance.now();
  }
  return times.sort((a, b) => a - b);
}"""


def build(folder: Path, pictures: int) -> None:
    """Prints seconds, memory and size of one run of the command."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "vprlib.cli", "report", "--pictures", str(pictures)]
    start = time.perf_counter()
    with (
        subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE) as process,
        watching(process.pid) as peak,
    ):
        process.wait()
    seconds = time.perf_counter() - start
    files = [file for file in (folder / paths.PAGE).rglob("*") if file.is_file()]
    size = sum(file.stat().st_size for file in files) / 1e6
    print(
        f"{pictures} pictures: {seconds:.1f} s, peak {peak.mib:.0f} MiB, {len(files)} files,"
        f" {size:.1f} MB"
    )


def browse(index: Path) -> None:
    """Prints how long each view takes to be usable, and the times of frames while scrolling."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for view in ("table", "map", "gallery", "compare"):
            page = browser.new_page(viewport={"width": 1400, "height": 900})
            start = time.perf_counter()
            page.goto(f"{index.as_uri()}#{view}")
            page.wait_for_selector(f"{READY}[data-ready={view}]")
            print(f"{view}: usable after {time.perf_counter() - start:.2f} s")
            if view in ("gallery", "compare"):
                times = page.evaluate(SCROLL, FRAMES)
                middle, late = times[FRAMES // 2], times[FRAMES * 95 // 100]
                print(f"  frames: median {middle:.0f} ms, 95 % within {late:.0f} ms")
            page.close()
        browser.close()


def main(queries: int, database: int, variants: int = 2) -> None:
    names = ("off_the_shelf", "trained", *(f"variant{n}" for n in range(3, variants + 1)))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw(folder, Size(queries, database, min(PICTURES, database)), names, CODES)
        code = "from stages.calibrate import main; " + "; ".join(
            f"main('drawn', '{variant}', '{code}')" for variant in names for code in CODES
        )
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, check=True)
        for pictures in (0, 4000, 4000):  # the last run finds all pictures in the page before
            build(folder, pictures)
        browse(folder / paths.PAGE / "index.html")


if __name__ == "__main__":
    main(*(int(text) for text in sys.argv[1:4]) if sys.argv[1:] else (10_000, 100_000))
