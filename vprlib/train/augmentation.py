"""Augmentation: all images of a training tuple are mirrored or resized alike."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from vprlib.pipeline.draws import Draw, generator


@dataclass(frozen=True, order=True)
class Change:
    """How every image of one tuple is changed."""

    is_mirrored: bool = False
    scale: float = 1.0  # of both sides


UNCHANGED = Change()


@dataclass(frozen=True)
class Augmentation:
    flip: float  # probability that a tuple is mirrored
    jitter: tuple[float, float] | None  # range of the factor that a tuple is resized by
    seed: int

    def of(self, query: int, epoch: int) -> Change:
        """The random change of a query's tuple in an epoch."""
        draw = generator(Draw.CHANGE, self.seed, epoch, query)
        is_mirrored = bool(draw.random() < self.flip)
        return Change(is_mirrored, float(draw.uniform(*self.jitter)) if self.jitter else 1.0)


def changed(pixels: np.ndarray, change: Change) -> np.ndarray:
    """The image [H, W, 3], resized and then mirrored."""
    if change.scale != 1.0:
        height, width = (max(1, round(side * change.scale)) for side in pixels.shape[:2])
        resized = Image.fromarray(pixels).resize(
            (width, height), Image.Resampling.BILINEAR, reducing_gap=3.0
        )
        pixels = np.asarray(resized)
    return pixels[:, ::-1] if change.is_mirrored else pixels
