"""RandAugment (Cubuk et al., 2020): random changes of an image, drawn by numpy's generators.

torchvision has the same operations, but draws from one generator for all threads.
"""

from collections.abc import Callable

import numpy as np
from PIL import Image
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

MOST = 30  # the largest magnitude
_SIGNED = "shear_x shear_y translate_x translate_y rotate brightness color contrast sharpness"
OPERATIONS = ("identity", *_SIGNED.split(), "posterize", "solarize", "auto_contrast", "equalize")


def randaugment(pixels: np.ndarray, operations: int, magnitude: int, seed: int) -> np.ndarray:
    """The image [H, W, 3] after random operations of one magnitude, 0 to MOST."""
    draw = np.random.default_rng(seed)
    image = Image.fromarray(pixels)
    for _ in range(operations):
        name = OPERATIONS[draw.integers(len(OPERATIONS))]
        is_negative = bool(draw.random() < 0.5)
        image = apply(image, name, magnitude / MOST, is_negative)
    return np.asarray(image)


def apply(image: Image.Image, name: str, strength: float, is_negative: bool) -> Image.Image:
    """One operation; strengths go from 0 to 1, and some operations have a sign."""
    sign = -1.0 if is_negative else 1.0
    if name in _ENHANCING:
        return _ENHANCING[name](image, 1.0 + sign * 0.9 * strength)
    if name == "posterize":
        return F.posterize(image, 8 - round(strength * 4))
    if name == "solarize":
        return F.solarize(image, 255.0 * (1 - strength))
    if name == "auto_contrast":
        return F.autocontrast(image)
    if name == "equalize":
        return F.equalize(image)
    if name == "rotate":
        return F.rotate(image, sign * 30.0 * strength, InterpolationMode.BILINEAR)
    shear, shift = float(np.rad2deg(np.arctan(sign * 0.3 * strength))), sign * 150 / 331 * strength
    x, y = name.endswith("_x"), name.endswith("_y")
    if name.startswith("shear"):
        return _moved(image, [0, 0], [shear * x, shear * y])
    if name.startswith("translate"):
        return _moved(image, [int(shift * image.width * x), int(shift * image.height * y)], [0, 0])
    return image


def _moved(image: Image.Image, shift: list[int], shear: list[float]) -> Image.Image:
    """Shifted, and sheared from the upper left corner."""
    return F.affine(image, 0.0, shift, 1.0, shear, InterpolationMode.BILINEAR, center=[0, 0])


_ENHANCING: dict[str, Callable[[Image.Image, float], Image.Image]] = {
    "brightness": F.adjust_brightness,
    "color": F.adjust_saturation,
    "contrast": F.adjust_contrast,
    "sharpness": F.adjust_sharpness,
}
