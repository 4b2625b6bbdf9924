"""The service against describing in batches: images a second, seconds of one client, memory.

In the project's folder, after `dvc repro`: `python -m benchmarks.service`. The photographs are the
queries of the set that is served, enlarged if asked. Clients are threads of one other process.
"""

import io
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from statistics import median

import numpy as np
import typer
from PIL import Image

from vprlib.cli.choice import Choice, SetParams, choose
from vprlib.cli.serving.answering import Asked
from vprlib.cli.serving.maps import Map
from vprlib.cli.serving.pinned import stamp
from vprlib.images.batches import open_source
from vprlib.pipeline import paths

LOAD = r"""
import json, sys, threading, time
from http.client import HTTPConnection
port, clients, seconds, folder = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), sys.argv[4]
from pathlib import Path
photos = [path.read_bytes() for path in sorted(Path(folder).iterdir())]
end, taken, failed = time.perf_counter() + seconds, [], []
def ask(number):
    line, at = HTTPConnection("127.0.0.1", port), number
    while time.perf_counter() < end:
        start = time.perf_counter()
        line.request("POST", "/v1/locate", photos[at % len(photos)], {"Content-Type": "image/jpeg"})
        answer = line.getresponse()
        answer.read()
        (taken if answer.status == 200 else failed).append(time.perf_counter() - start)
        at += clients
threads = [threading.Thread(target=ask, args=(n,)) for n in range(clients)]
begun = time.perf_counter()
[t.start() for t in threads]
[t.join() for t in threads]
print(json.dumps({"seconds": time.perf_counter() - begun, "taken": taken, "failed": len(failed)}))
"""


def photographs(choice: Choice, short_side: int | None, count: int) -> list[bytes]:
    """JPEG files of queries, of that size if one is given."""
    p = SetParams.load(dataset=choice.dataset)
    source = open_source(paths.index(choice.dataset, "queries"), p.image_dir, p.images)
    found = []
    for row in range(min(count, len(source.index))):
        image, file = Image.fromarray(source.pixels(row)), io.BytesIO()
        if short_side:
            scale = short_side / min(image.size)
            image = image.resize((round(scale * image.width), round(scale * image.height)))
        image.save(file, "JPEG", quality=90)
        found.append(file.getvalue())
    return found


def batches(choice: Choice, photos: Sequence[bytes], seconds: float) -> tuple[float, float, float]:
    """Images a second described in batches; milliseconds to describe one, and to search for it."""
    from vprlib.images.decode import decode_bytes

    with tempfile.TemporaryDirectory(dir=paths.SCRATCH) as folder:
        held = Map(choice, Path(folder) / "links", stamp(choice))
        images = held.params.images
        pixels = [decode_bytes(photo, images, 10**8, 10**8) for photo in photos]
        size = min(32, len(pixels))
        batch, count, start = np.stack(pixels[:size]), 0, time.perf_counter()
        while time.perf_counter() - start < seconds:
            held.describe(batch)
            count += size
        rate = count / (time.perf_counter() - start)
        alone, searched = [], []
        for n in range(40):
            start = time.perf_counter()
            one = decode_bytes(photos[n % len(photos)], images, 10**8, 10**8)
            held.describe(np.stack([one]))
            alone.append(time.perf_counter() - start)
            start = time.perf_counter()
            held.locate([Asked("", one, 5)])
            searched.append(time.perf_counter() - start)
        whole, described = median(searched), median(alone)
        return rate, 1000 * described, 1000 * max(0.0, whole - described)


@contextmanager
def running(*options: str) -> Iterator[tuple[subprocess.Popen, int, float]]:
    """`vpr serve`, and the seconds until it answered."""
    start = time.perf_counter()
    command = [sys.executable, "-P", "-m", "vprlib.cli", "serve", "--port", "0", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        port = int(re.search(r":(\d+) answers", process.stdout.readline())[1])
        while True:
            try:
                line = HTTPConnection("127.0.0.1", port)
                line.request("GET", "/v1/health")
                line.getresponse().read()
                break
            except OSError:
                time.sleep(0.01)
        yield process, port, time.perf_counter() - start
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def load(port: int, clients: int, seconds: float, folder: Path) -> tuple[float, list[float], int]:
    """Images a second, seconds of each, and how many failed."""
    command = [sys.executable, "-c", LOAD, *map(str, (port, clients, seconds, folder))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    return len(told["taken"]) / told["seconds"], told["taken"], told["failed"]


def resident(process: subprocess.Popen) -> float:
    """MiB."""
    text = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", text)[1]) / 1024


def main(
    short_side: int | None = typer.Option(None, help="of the photographs; default: as they are"),
    seconds: float = typer.Option(10, help="of each measurement"),
    minutes: float = typer.Option(10, help="of the load whose memory is watched"),
    clients: int = typer.Option(16),
) -> None:
    choice = choose(None, None, None)
    paths.SCRATCH.mkdir(parents=True, exist_ok=True)
    photos = photographs(choice, short_side, 64)
    rate, described, searched = batches(choice, photos, seconds)
    print(f"describing in batches of 32: {rate:.1f} images/s; one alone: decoded and described in")
    print(f"{described:.1f} ms, searched for and told in {searched:.1f} ms")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number, photo in enumerate(photos):
            (folder / f"{number:03d}.jpg").write_bytes(photo)
        with running() as (process, port, begun):
            print(f"the service answers after {begun:.1f} s")
            load(port, clients, 2, folder)  # to warm up
            many, _, failed = load(port, clients, seconds, folder)
            print(f"{clients} clients: {many:.1f} images/s, {many / rate:.0%}; {failed} failed")
            _, alone, failed = load(port, 1, seconds, folder)
            p50, p95 = (1000 * np.quantile(alone, q) for q in (0.5, 0.95))
            ratio = p95 / (described + searched)
            print(f"one client: median {p50:.1f} ms, p95 {p95:.1f} ms, {ratio:.2f} of that in one")
            before, end = resident(process), time.perf_counter() + 60 * minutes
            while time.perf_counter() < end:
                _, _, failed = load(port, clients, min(30, 60 * minutes), folder)
                print(f"{resident(process):.0f} MiB ({failed} failed)", flush=True)
            growth = resident(process) / before - 1
            print(f"memory over {minutes:g} minutes: {before:.0f} MiB {growth:+.1%}")


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    typer.run(main)
