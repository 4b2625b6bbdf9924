"""A map that grows: seconds of `dvc repro` for all photographs, for some more, and for some less.

In a clone of this checkout, as a user would: `vpr use photos FOLDER` and `dvc repro`. The last
descriptors are held against those of a run without the cache.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

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


def run(folder: Path, *command: str) -> float:
    """Seconds that a command takes in the clone."""
    start = time.perf_counter()
    environment = os.environ | {"PYTHONPATH": str(folder)}
    program = Path(sys.executable).parent / command[0]
    found = subprocess.run(
        [program, *command[1:]], cwd=folder, env=environment, capture_output=True, text=True
    )
    if found.returncode:
        sys.exit(found.stdout + found.stderr)
    told = [line for line in found.stdout.splitlines() if line.startswith("photos")]
    print("".join(f"    {line}\n" for line in told if "known already" in line), end="")
    return time.perf_counter() - start


def main(
    count: int = typer.Option(10_000, "--images"),
    more: int = typer.Option(100, "--more"),
    width: int = 640,
    height: int = 480,
    precision: str = "auto",
) -> None:
    """Prints seconds, and what share of the first run they are."""
    with tempfile.TemporaryDirectory() as parent:
        project, photos = Path(parent) / "project", Path(parent) / "street"
        photos.mkdir()
        for row in range(count + more):
            photograph(Path(parent) / f"{row:06}.jpg", row, (width, height))
        paths = sorted(Path(parent).glob("*.jpg"))
        for path in paths[:count]:
            path.rename(photos / path.name)
        subprocess.run(["git", "clone", "-q", ROOT, project], check=True)
        run(project, "vpr", "use", "photos", str(photos))
        params = project / "params.yaml"
        text = params.read_text(encoding="utf-8")
        params.write_text(text.replace("precision: float32", f"precision: {precision}"))

        first = run(project, "dvc", "repro")
        print(f"{count} photographs of {width}×{height}: {first:.1f} s")
        for path in paths[count:]:
            path.rename(photos / path.name)
        grown = run(project, "dvc", "repro")
        print(f"{more} more: {grown:.1f} s, {grown / first:.2%}")
        gone = np.random.default_rng(1).choice(count, more, replace=False)
        for path in (paths[row] for row in gone):
            (photos / path.name).unlink()
        shrunk = run(project, "dvc", "repro")
        print(f"{more} less: {shrunk:.1f} s, {shrunk / first:.2%}")
        nothing = run(project, "dvc", "repro")
        print(f"nothing: {nothing:.1f} s, {nothing / first:.2%}")

        less = (project / DESCRIPTORS).read_bytes()
        shutil.rmtree(project / "artifacts/.cache")
        run(
            project,
            "dvc",
            "repro",
            "-f",
            "-s",
            "parse_mat@photos",
            "extract_db@photos-off_the_shelf",
        )
        print(f"without the cache: same bytes {(project / DESCRIPTORS).read_bytes() == less}")


if __name__ == "__main__":
    typer.run(main)
