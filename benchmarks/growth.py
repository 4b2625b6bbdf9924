"""A map that grows: seconds of `dvc repro` for all photographs, for some more, and for some less.

In a clone of this checkout, as a user would: `vpr use photos FOLDER` and `dvc repro`. The last
descriptors are held against those of a run without the cache.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image, TiffImagePlugin
from PIL.ExifTags import GPS, IFD, Base

from benchmarks.pictures import QUALITY, picture

ROOT = Path(__file__).parents[1]
METRE = 1 / 111_200  # of latitude, in degrees
A_DAY = 2500  # photographs, so that there are several sessions on the same street
DESCRIPTORS = Path("artifacts/descriptors/photos/off_the_shelf/full/db.h5")


def photograph(path: Path, row: int, size: tuple[int, int]) -> None:
    """One of a walk along a street, with position and time."""
    tags, (day, place) = Image.Exif(), divmod(row, A_DAY)
    moment = datetime.fromtimestamp(1.7e9 + 86400 * day + 5 * place, UTC)
    tags.get_ifd(IFD.Exif)[Base.DateTimeOriginal] = moment.strftime("%Y:%m:%d %H:%M:%S")
    degrees = (52.5 + 5 * place * METRE, 13.33)
    parts = [TiffImagePlugin.IFDRational(round(value * 10**7), 10**7) for value in degrees]
    gps = tags.get_ifd(IFD.GPSInfo)
    gps[GPS.GPSLatitudeRef], gps[GPS.GPSLatitude] = "N", (parts[0], 0, 0)
    gps[GPS.GPSLongitudeRef], gps[GPS.GPSLongitude] = "E", (parts[1], 0, 0)
    place_of, view = (np.random.default_rng([seed]) for seed in (place, A_DAY + row))
    Image.fromarray(picture(place_of, view, *size)).save(path, exif=tags, quality=QUALITY)


class Project:
    """A clone of this checkout, and what its commands took."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        subprocess.run(["git", "clone", "-q", ROOT, folder], check=True)

    def run(self, *command: str) -> Iterator[tuple[float, str]]:
        """Lines, and the seconds after which they came."""
        start = time.perf_counter()
        program = Path(sys.executable).parent / command[0]
        environment = os.environ | {"PYTHONPATH": str(self.folder), "PYTHONUNBUFFERED": "1"}
        with subprocess.Popen(
            [program, *command[1:]],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as running:
            assert running.stdout is not None
            lines = []
            for line in running.stdout:
                lines.append(line)
                yield time.perf_counter() - start, line
        if running.returncode:
            sys.exit("".join(lines))
        yield time.perf_counter() - start, ""

    def repro(self, *arguments: str) -> tuple[float, float]:
        """Seconds of all, and of the stages that look at images."""
        looking, begun, now = 0.0, None, 0.0
        for now, line in self.run("dvc", "repro", *arguments):
            if line.startswith("Running stage"):
                begun = now if re.search("list_photos|parse_mat|extract_", line) else None
            if line.startswith("Updating lock") and begun is not None:
                looking, begun = looking + now - begun, None
        return now, looking


def moved(paths: Iterable[Path], folder: Path) -> None:
    for path in paths:
        path.rename(folder / path.name)


def main(
    count: int = typer.Option(10_000, "--images"),
    more: int = typer.Option(100, "--more"),
    width: int = 640,
    height: int = 480,
    drawn: Annotated[Path | None, typer.Option(help="a folder that has some")] = None,
) -> None:
    """Prints seconds, and what share of the first run they are."""
    with tempfile.TemporaryDirectory() as parent:
        aside, photos = Path(parent) / "aside", Path(parent) / "street"
        for folder in (aside, photos):
            folder.mkdir()
        for row in range(count + more):
            name = f"{row:06}.jpg"
            if drawn is not None and (drawn / name).exists():
                shutil.copyfile(drawn / name, photos / name)
            else:
                photograph(photos / name, row, (width, height))
        moved(sorted(photos.iterdir())[count:], aside)
        project = Project(Path(parent) / "project")
        list(project.run("vpr", "use", "photos", str(photos)))
        first = project.repro()

        def told(what: str) -> None:
            found = project.repro()
            shares = (f"{a:.1f} s, {a / b:.2%}" for a, b in zip(found, first, strict=True))
            print(f"{what}: {'; '.join(shares)}", flush=True)

        size = f"{count} photographs of {width}×{height}"
        print(
            f"{size}: {first[0]:.1f} s; {first[1]:.1f} s in stages that look at images", flush=True
        )
        moved(list(aside.iterdir()), photos)
        told(f"{more} more")
        gone = np.random.default_rng(1).choice(count, more, replace=False)
        moved([photos / f"{row:06}.jpg" for row in gone], aside)
        told(f"{more} less")
        told("nothing")

        grown = (project.folder / DESCRIPTORS).read_bytes()
        shutil.rmtree(project.folder / "artifacts/.cache")
        project.repro("-f", "-s", "parse_mat@photos", "extract_db@photos-off_the_shelf")
        print(
            f"without the cache: same bytes {(project.folder / DESCRIPTORS).read_bytes() == grown}"
        )


if __name__ == "__main__":
    typer.run(main)
