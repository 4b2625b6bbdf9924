"""Small pictures for the page: the most needed ones, up to a number, and none made twice."""

import hashlib
import io
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from vprlib.cli.report.arrays import packed
from vprlib.images.batches import ImageSource
from vprlib.pipeline.artifacts import write_bytes
from vprlib.pipeline.params import JsonObject
from vprlib.pipeline.progress import progress

SHORT_SIDE = 144  # pixels
LONG_SIDE = 432  # of a panorama
QUALITY = 60
FOLDER = "thumbnails"
AT_ONCE = 256  # pictures that wait for a thread
_SIDES = ("database", "queries")


@dataclass(frozen=True)
class Album:
    """The images of one set: sources of database and queries, and what is wanted of them."""

    sources: tuple[ImageSource, ImageSource]
    tiers: Sequence[Sequence[np.ndarray]]  # of pairs of side and row, see `sets.wanted`


def chosen(albums: Sequence[Album], budget: int) -> np.ndarray:
    """Set, side and row [N, 3] of the images to show, at most `budget`, in turn of all runs."""
    tiers = range(max((len(album.tiers) for album in albums), default=0))
    every = [_in_turn(albums, tier) for tier in tiers]
    rows = np.concatenate([np.zeros((0, 3), np.int64), *every])
    first = np.unique(rows, axis=0, return_index=True)[1]
    return rows[np.sort(first)[:budget]]


def _in_turn(albums: Sequence[Album], tier: int) -> np.ndarray:
    """The first of every run, then the second of every run, and so on."""
    runs = [
        np.insert(pairs, 0, number, axis=1)
        for number, album in enumerate(albums)
        for pairs in album.tiers[tier]
    ]
    places = np.concatenate([np.zeros(0, np.int64), *(np.arange(len(run)) for run in runs)])
    rows = np.concatenate([np.zeros((0, 3), np.int64), *runs])
    return rows[np.argsort(places, kind="stable")]


def key_of(source: ImageSource, row: int) -> str:
    """The file's name, which changes with the content and with how it is shown."""
    info, settings = source.index.info(row), source.settings
    about = f"{info.digest} {info.box} {settings.exif_rotate} {SHORT_SIDE} {QUALITY}"
    return hashlib.blake2b(about.encode(), digest_size=8).hexdigest()


def small(pixels: np.ndarray) -> bytes:
    image = Image.fromarray(pixels)
    scale = SHORT_SIDE / min(image.size)
    size = [min(LONG_SIDE, max(1, round(scale * edge))) for edge in image.size]
    if scale < 1:
        image = image.resize((size[0], size[1]), Image.Resampling.BILINEAR, reducing_gap=2.0)
    file = io.BytesIO()
    image.save(file, "WEBP", quality=QUALITY)
    return file.getvalue()


def write_thumbnails(
    folder: Path, earlier: Path, albums: Sequence[Album], budget: int, workers: int
) -> list[JsonObject]:
    """Writes the pictures; gives for each set the rows and the names of what can be shown.

    Pictures of an earlier page are copied; what cannot be read is left out.
    """
    images = chosen(albums, budget)
    sources = [(albums[number].sources[side], row) for number, side, row in images.tolist()]
    keys = [key_of(source, row) for source, row in sources]
    first = dict(zip(reversed(keys), reversed(sources), strict=True))  # the same content once
    (folder / FOLDER).mkdir()

    def make(key: str) -> bool:
        name = Path(FOLDER) / f"{key}.webp"
        if (earlier / name).is_file():
            shutil.copyfile(earlier / name, folder / name)
            return True
        source, row = first[key]
        pixels = source.pixels_or_problem(row)
        if isinstance(pixels, str):
            return False
        write_bytes(folder / name, small(pixels))
        return True

    every, made = list(first), set()
    with ThreadPoolExecutor(workers) as pool:
        starts = range(0, len(every), AT_ONCE)
        for start in progress(starts, len(starts), "thumbnails", "batch"):
            some = every[start : start + AT_ONCE]
            made |= {
                key for key, is_made in zip(some, pool.map(make, some), strict=True) if is_made
            }
    shown = [key if key in made else None for key in keys]
    return [_listed(images, shown, number) for number in range(len(albums))]


def _listed(images: np.ndarray, keys: Sequence[str | None], number: int) -> JsonObject:
    """Rows and names of one set's pictures, by side."""
    found: JsonObject = {}
    for side, name in enumerate(_SIDES):
        is_here = (images[:, 0] == number) & (images[:, 1] == side)
        here = [n for n in np.flatnonzero(is_here).tolist() if keys[n] is not None]
        found[name] = {"rows": packed(images[here, 2], "i4"), "names": [keys[n] for n in here]}
    return found
