"""Pictures of walls, and the same walls from elsewhere."""

import numpy as np
from PIL import Image


def wall(seed, width=320, height=240):
    """Blurred blots."""
    blots = np.random.default_rng(seed).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(blots).resize((width, height), Image.Resampling.BICUBIC))


def from_elsewhere(pixels):
    """What another camera sees of it, by a known homography, in other light."""
    height, width = pixels.shape[:2]
    ways = (1.04, 0.05, -6, -0.04, 1.02, 3, 0.0002, -0.0001)
    seen = Image.fromarray(pixels).transform(
        (width, height), Image.Transform.PERSPECTIVE, ways, Image.Resampling.BICUBIC
    )
    return (np.asarray(seen) * 0.9 + 8).astype(np.uint8)
