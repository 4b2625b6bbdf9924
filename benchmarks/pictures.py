"""Draws data sets to measure on: smooth pictures of places, several views each, as JPEG files."""

from dataclasses import dataclass
from math import gcd
from pathlib import Path

import numpy as np
from PIL import Image

from vprlib.images.batches import ImageSource
from vprlib.images.decode import ImageSettings
from vprlib.images.index import build_index
from vprlib.places.truth import Near, Radii
from vprlib.train.data import Split, TrainingData, training_data
from vprlib.train.settings import TrainSettings

RADII = Radii(positive_m=25.0, training_m=10.0)
APART_M = 100.0  # from place to place
QUALITY = 90
VALIDATION = 2  # images a side: only training is measured


@dataclass(frozen=True)
class Size:
    """Every place is seen equally often, by at most nine database images."""

    width: int
    height: int
    database: int
    queries: int

    @property
    def places(self) -> int:
        return gcd(self.database, self.queries)


def drawn_data(folder: Path, size: Size, settings: TrainSettings) -> TrainingData:
    """Writes the pictures below the folder and says who may be whose positive and negative."""
    train = drawn_split(folder / "train", size)
    val = drawn_split(folder / "val", Size(size.width, size.height, VALIDATION, VALIDATION))
    truth = Near(val.queries.index.positions, val.database.index.positions, RADII.positive_m)
    return training_data(train, RADII, val, truth, settings)


def drawn_split(folder: Path, size: Size) -> Split:
    """Queries stand at their place, the database's views 2 m to 10 m beside it."""
    return Split(
        _drawn(folder / "database", size, size.database // size.places, first_m=2.0),
        _drawn(folder / "queries", size, size.queries // size.places, first_m=0.0),
    )


def _drawn(folder: Path, size: Size, views: int, first_m: float) -> ImageSource:
    folder.mkdir(parents=True)
    shots = [(place, view) for place in range(size.places) for view in range(views)]
    names = [f"{place:04}-{view}.jpg" for place, view in shots]
    for name, (place, view) in zip(names, shots, strict=True):
        draw = np.random.default_rng([place, view, int(first_m)])
        pixels = picture(np.random.default_rng(place), draw, size.width, size.height)
        Image.fromarray(pixels).save(folder / name, quality=QUALITY)
    offsets = first_m + 8.0 * np.arange(views) / views
    positions = np.array([(APART_M * place, offsets[view]) for place, view in shots])
    index = build_index(folder.name, names, positions, folder, {}, workers=2)
    return ImageSource(index, folder, ImageSettings())


def picture(
    place: np.random.Generator, view: np.random.Generator, width: int, height: int
) -> np.ndarray:
    """Soft patches of colour, half the place's, moved a little, and half the view's; some noise.

    A positive is near enough to be found and far enough that negatives violate the margin.
    """
    wide, high = round(1.2 * width), round(1.2 * height)
    left, top = int(view.integers(wide - width + 1)), int(view.integers(high - height + 1))
    seen = _soft(place, wide, high)[top : top + height, left : left + width]
    noise = view.normal(0.0, 6.0, (height, width, 1))
    mixed = 0.5 * seen + 0.5 * _soft(view, width, height) + noise
    return mixed.clip(0, 255).astype(np.uint8)


def _soft(draw: np.random.Generator, width: int, height: int) -> np.ndarray:
    blocks = draw.integers(0, 256, (9, 12, 3), dtype=np.uint8)
    large = Image.fromarray(blocks).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(large, np.float32)
