"""Augmentation: tuples are mirrored or resized as a whole, images of a batch one by one."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from vprlib.pipeline.draws import Draw, generator
from vprlib.train.places.randaugment import randaugment
from vprlib.train.settings import DistilSettings, PlacesSettings, TrainSettings


@dataclass(frozen=True, order=True)
class Change:
    """How an image is changed: all of a tuple alike, those of a batch each in its own way."""

    is_mirrored: bool = False
    scale: float = 1.0  # of both sides
    random: tuple[int, int, int] | tuple[()] = ()  # of RandAugment: operations, magnitude, seed


UNCHANGED = Change()


def change_of(settings: TrainSettings, query: int, epoch: int) -> Change:
    """How the tuple of a query is changed in an epoch."""
    draw = generator(Draw.CHANGE, settings.seed, epoch, query)
    is_mirrored = bool(draw.random() < settings.flip)
    return Change(is_mirrored, float(draw.uniform(*settings.jitter)) if settings.jitter else 1.0)


def change_of_image(settings: PlacesSettings | DistilSettings, row: int, epoch: int) -> Change:
    """How an image of a batch is changed in an epoch; a student's is never mirrored."""
    draw = generator(Draw.CHANGE, settings.seed, epoch, row)
    flip = settings.flip if isinstance(settings, PlacesSettings) else 0.0
    is_mirrored = bool(draw.random() < flip)
    if settings.randaugment is None:
        return Change(is_mirrored)
    r = settings.randaugment
    return Change(is_mirrored, random=(r.operations, r.magnitude, int(draw.integers(2**31))))


def changed(pixels: np.ndarray, change: Change) -> np.ndarray:
    """The image [H, W, 3], resized, changed at random and then mirrored."""
    if change.scale != 1.0:
        height, width = (max(1, round(side * change.scale)) for side in pixels.shape[:2])
        resized = Image.fromarray(pixels).resize(
            (width, height), Image.Resampling.BILINEAR, reducing_gap=3.0
        )
        pixels = np.asarray(resized)
    if change.random:
        pixels = randaugment(pixels, *change.random)
    return pixels[:, ::-1] if change.is_mirrored else pixels
