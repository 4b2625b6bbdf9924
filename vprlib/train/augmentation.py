"""Augmentation: all images of a training tuple are mirrored or resized alike."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from vprlib.pipeline.draws import Draw, generator
from vprlib.train.settings import TrainSettings


@dataclass(frozen=True, order=True)
class Change:
    """How every image of one tuple is changed."""

    is_mirrored: bool = False
    scale: float = 1.0  # of both sides


UNCHANGED = Change()


def change_of(settings: TrainSettings, query: int, epoch: int) -> Change:
    """How the tuple of a query is changed in an epoch."""
    draw = generator(Draw.CHANGE, settings.seed, epoch, query)
    is_mirrored = bool(draw.random() < settings.flip)
    return Change(is_mirrored, float(draw.uniform(*settings.jitter)) if settings.jitter else 1.0)


def changed(pixels: np.ndarray, change: Change) -> np.ndarray:
    """The image [H, W, 3], resized and then mirrored."""
    if change.scale != 1.0:
        height, width = (max(1, round(side * change.scale)) for side in pixels.shape[:2])
        resized = Image.fromarray(pixels).resize(
            (width, height), Image.Resampling.BILINEAR, reducing_gap=3.0
        )
        pixels = np.asarray(resized)
    return pixels[:, ::-1] if change.is_mirrored else pixels
