"""Decodes image files of any kind to RGB arrays, upright and resized."""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError
from pydantic import PositiveInt

from vprlib.pipeline.params import Section

_ROTATED = {5, 6, 7, 8}  # EXIF orientations that swap width and height
_ORIENTATION = 0x0112
THUMBNAIL = 32  # pixels per side of the grey image that is hashed
Box = tuple[float, float, float, float]  # left, top, right, bottom


class ImageSettings(Section):
    """How the images of a data set become pixels."""

    # null: as stored; a number: the short side in pixels; [width, height]: exactly this size
    resize: PositiveInt | tuple[PositiveInt, PositiveInt] | None = None
    exif_rotate: bool = True  # turn photographs upright by their EXIF tag


@dataclass(frozen=True)
class ImageInfo:
    """What is known of an image file once it was opened."""

    byte_size: int
    width: int  # as stored, before any EXIF rotation
    height: int
    is_rotated: bool  # EXIF swaps width and height
    digest: int  # of the file's bytes, 63 bits
    box: Box | None = None  # the part that is used, in pixels of the upright image


@dataclass(frozen=True)
class Inspected:
    """What one look at an image file gives."""

    info: ImageInfo
    thumbnail: np.ndarray  # grey uint8 [THUMBNAIL, THUMBNAIL], upright, of the part that is used


def inspect(path: Path, box: Box | None = None) -> Inspected:
    """Decodes the whole file once, to find truncated ones; raises ValueError."""
    content = path.read_bytes()
    if not content:
        raise ValueError("is empty (zero bytes)")
    with _open(content) as image:
        width, height = image.size
        # JPEG: far less work, and still twice the thumbnail
        image.draft(image.mode, (max(2 * THUMBNAIL, width // 8), max(2 * THUMBNAIL, height // 8)))
        is_rotated = _load(image)
        upright = _as_rgb(ImageOps.exif_transpose(image))
    if box is not None:
        scale = upright.width / (height if is_rotated else width)  # of the draft
        upright = upright.crop(crop_of([scale * edge for edge in box], *upright.size))
    size = (THUMBNAIL, THUMBNAIL)
    grey = upright.resize(size, Image.Resampling.BILINEAR, reducing_gap=3.0).convert("L")
    info = ImageInfo(len(content), width, height, is_rotated, digest_of(content), box)
    return Inspected(info, np.asarray(grey))


def digest_of(content: bytes) -> int:
    """A digest of 63 bits; it takes a fiftieth of the time of decoding."""
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "big") >> 1


def target_size(
    width: int, height: int, is_rotated: bool, settings: ImageSettings, box: Box | None = None
) -> tuple[int, int]:
    """Width and height of the pixels that the network sees."""
    if is_rotated and settings.exif_rotate:
        width, height = height, width
    if box is not None:
        left, top, right, bottom = crop_of(box, width, height)
        width, height = right - left, bottom - top
    if settings.resize is None:
        return width, height
    if isinstance(settings.resize, tuple):
        return settings.resize
    scale = settings.resize / min(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def check_unchanged(content: bytes, expected: ImageInfo) -> None:
    """Raises ValueError if the content is not the same as when the set was parsed."""
    if expected.digest < 0:
        raise ValueError("could not be read when the set was parsed")
    if not content:
        raise ValueError("is empty (zero bytes)")
    if digest_of(content) != expected.digest:
        raise ValueError(f"has other content ({len(content)} bytes, {expected.byte_size} then)")


def problem_of(error: Exception) -> str:
    """What is wrong with an image, to follow its name in a sentence."""
    return "is missing" if isinstance(error, FileNotFoundError) else str(error)


def crop_of(box: Sequence[float], width: int, height: int) -> tuple[int, int, int, int]:
    """The box in whole pixels inside the image, at least one wide and high."""
    left, top, right, bottom = (round(edge) for edge in box)
    left, top = min(max(left, 0), width - 1), min(max(top, 0), height - 1)
    return left, top, min(max(right, left + 1), width), min(max(bottom, top + 1), height)


def decode(path: Path, expected: ImageInfo, settings: ImageSettings) -> np.ndarray:
    """RGB pixels, uint8 [H, W, 3], of a file that must not have changed since it was parsed."""
    content = path.read_bytes()
    if expected.digest < 0:
        check_unchanged(content, expected)
    with _open(content) as image:
        if image.size != (expected.width, expected.height):
            now = f"{image.size[0]}×{image.size[1]}"
            raise ValueError(f"is {now}, but was {expected.width}×{expected.height}")
        check_unchanged(content, expected)
        _load(image)
        rgb = _as_rgb(ImageOps.exif_transpose(image) if settings.exif_rotate else image)
    if expected.box is not None:
        rgb = rgb.crop(crop_of(expected.box, *rgb.size))
    size = target_size(*image.size, expected.is_rotated, settings, expected.box)
    if rgb.size != size:
        rgb = rgb.resize(size, Image.Resampling.BILINEAR, reducing_gap=3.0)
    return np.asarray(rgb)


def _open(content: bytes) -> ImageFile.ImageFile:
    try:
        return Image.open(io.BytesIO(content))
    except UnidentifiedImageError:
        raise ValueError("is not an image") from None
    except Image.DecompressionBombError as error:
        raise ValueError(f"is too large ({error})") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"cannot be opened ({error})") from None


def _load(image: Image.Image) -> bool:
    """Decodes the pixels; returns whether EXIF swaps width and height."""
    try:
        image.load()
        return image.getexif().get(_ORIENTATION) in _ROTATED
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"is truncated or damaged ({error})") from None


def _as_rgb(image: Image.Image) -> Image.Image:
    """Grey, palette, RGBA and CMYK as RGB; 16-bit grey is scaled, which Pillow would clip."""
    if image.mode.startswith("I"):
        grey = np.asarray(image).astype(np.int64) // 257
        return Image.fromarray(grey.clip(0, 255).astype(np.uint8)).convert("RGB")
    return image.convert("RGB")
