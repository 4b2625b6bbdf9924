"""Turns the light of a scene into the JPEG that a camera stores: exposure, blur, noise."""

import io
from functools import reduce

import numpy as np
from PIL import Image, ImageFilter

from vprlib.city.camera import FINER


def develop(light: np.ndarray, gains: np.ndarray, gamma: float) -> np.ndarray:
    """Averages the rays of each pixel and exposes, [H, W, 3] float32, 0-255."""
    # far quicker than a mean over two axes
    rows = reduce(np.add, (light[k::FINER] for k in range(FINER)))
    cells = reduce(np.add, (rows[:, k::FINER] for k in range(FINER)))
    bright = np.clip(cells * (gains / FINER**2).astype(np.float32), 0, 255)
    return 255 * (bright / 255) ** gamma if gamma != 1 else bright


def expose(image: np.ndarray, blur_px: float, noise: float, rng: np.random.Generator) -> np.ndarray:
    """Blurs, adds noise and rounds, [H, W, 3] uint8."""
    if blur_px > 0.15:
        sharp = Image.fromarray(np.clip(image, 0, 255).astype(np.uint8))
        image = np.asarray(sharp.filter(ImageFilter.GaussianBlur(blur_px)), np.float32)
    grain = rng.standard_normal(image.shape, np.float32) * np.float32(noise)
    return np.clip(image + grain + 0.5, 0, 255).astype(np.uint8)


def jpeg(image: np.ndarray, quality: int) -> bytes:
    """The file's bytes."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
