"""Decodes image files of any kind to RGB arrays, upright and resized."""

import hashlib
import io
import math
import os
import stat
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, BinaryIO

import numpy as np
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError
from pydantic import Field

from vprlib.pipeline.params import Section

_ROTATED = {5, 6, 7, 8}  # EXIF orientations that swap width and height
_ORIENTATION = 0x0112
THUMBNAIL = 32  # pixels per side of the grey image that is hashed
# what Pillow may open: others, such as PostScript, start programs
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "PPM", "GIF")
Image.init()
MAX_PIXELS = 100_000_000  # 0.3 GB as RGB; the largest panoramas have 90 million
MAX_BYTES = 2**29
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1"}
_TOO_LARGE = f"has more than {MAX_PIXELS // 10**6} million pixels"
Length = Annotated[int, Field(ge=1, le=2**13)]  # pixels
Box = tuple[float, float, float, float]  # left, top, right, bottom


class ImageSettings(Section):
    """How the images of a data set become pixels."""

    # null: as stored; a number: the short side in pixels; [width, height]: exactly this size
    resize: Length | tuple[Length, Length] | None = None
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
    content = read_file(path)
    with opened(io.BytesIO(content)) as image:
        width, height = image.size
        # JPEG: far less work, and still twice the thumbnail
        image.draft(image.mode, (max(2 * THUMBNAIL, width // 8), max(2 * THUMBNAIL, height // 8)))
        is_rotated, upright = _load(image, turn=True)
    if box is not None:
        scale = upright.width / (height if is_rotated else width)  # of the draft
        upright = upright.crop(crop_of([scale * edge for edge in box], *upright.size))
    size = (THUMBNAIL, THUMBNAIL)
    grey = upright.resize(size, Image.Resampling.BILINEAR, reducing_gap=3.0).convert("L")
    info = ImageInfo(len(content), width, height, is_rotated, digest_of(content), box)
    return Inspected(info, np.asarray(grey))


def read_file(path: Path) -> bytes:
    """The bytes of an image file; raises ValueError for what cannot be one."""
    with regular_file(path) as file:
        return file.read()


@contextmanager
def regular_file(path: Path) -> Iterator[BinaryIO]:
    """The file, open; raises ValueError for what cannot be an image."""
    # a pipe without a writer would wait for ever
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        about = os.fstat(file.fileno())
        if not stat.S_ISREG(about.st_mode):
            raise ValueError("is not a regular file")
        if about.st_size > MAX_BYTES:
            raise ValueError(f"is {about.st_size >> 20} MiB, above the limit of {MAX_BYTES >> 20}")
        if not about.st_size:
            raise ValueError("is empty (zero bytes)")
        yield file


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
    content = read_file(path)
    if expected.digest < 0:
        check_unchanged(content, expected)
    with opened(io.BytesIO(content)) as image:
        if image.size != (expected.width, expected.height):
            now = f"{image.size[0]}×{image.size[1]}"
            raise ValueError(f"is {now}, but was {expected.width}×{expected.height}")
        check_unchanged(content, expected)
        _, rgb = _load(image, settings.exif_rotate)
        return _sized(image, expected.is_rotated, rgb, settings, expected.box)


def decode_bytes(
    content: bytes, settings: ImageSettings, most_pixels: int, most_given: int
) -> np.ndarray:
    """As `decode`, of a photograph that is not on the disk.

    One that has too many pixels, or would give too many, is refused by its header.
    """
    if not content:
        raise ValueError("is empty (zero bytes)")
    with opened(io.BytesIO(content)) as image:
        given = math.prod(target_size(*image.size, False, settings))
        for count, most in ((image.width * image.height, most_pixels), (given, most_given)):
            if count > most:
                raise ValueError(
                    f"is {image.width}×{image.height} pixels, which is above the limit here"
                    f" ({most / 1e6:.3g} million): send a smaller one"
                )
        is_rotated, rgb = _load(image, settings.exif_rotate)
        return _sized(image, is_rotated, rgb, settings, None)


def _sized(
    image: Image.Image, is_rotated: bool, rgb: Image.Image, settings: ImageSettings, box: Box | None
) -> np.ndarray:
    """The part of the upright image that is used, in the size that is asked for."""
    if box is not None:
        rgb = rgb.crop(crop_of(box, *rgb.size))
    size = target_size(*image.size, is_rotated, settings, box)
    if rgb.size != size:
        rgb = rgb.resize(size, Image.Resampling.BILINEAR, reducing_gap=3.0)
    return np.asarray(rgb)


def opened(file: BinaryIO) -> ImageFile.ImageFile:
    """The image, of which only the header is read yet; raises ValueError for what is none."""
    try:
        with warnings.catch_warnings(action="ignore"):
            image = Image.open(file, formats=_formats(file))
    except UnidentifiedImageError:
        raise ValueError("is not an image that can be read") from None
    except Image.DecompressionBombError:
        raise ValueError(_TOO_LARGE) from None
    except Exception as error:  # Pillow raises whatever its readers stumble over
        raise ValueError(f"cannot be opened ({_first_line(error)})") from None
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(f"{_TOO_LARGE}, and it is {image.width}×{image.height}")
    return image


def _formats(file: BinaryIO) -> tuple[str, ...]:
    """The formats to try; HEIC needs a library of its own."""
    start = file.read(12)
    file.seek(0)
    if start[4:8] != b"ftyp" or start[8:12] not in _HEIC_BRANDS:
        return FORMATS
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        raise ValueError(
            "is a HEIC photograph: `pip install pillow-heif` to read it, or convert it to JPEG"
        ) from None
    register_heif_opener(thumbnails=False)
    return ("HEIF",)


def _load(image: Image.Image, turn: bool) -> tuple[bool, Image.Image]:
    """Whether EXIF swaps width and height, and the pixels in RGB, turned upright if wanted."""
    try:
        image.load()
        is_rotated = image.getexif().get(_ORIENTATION) in _ROTATED
        return is_rotated, _as_rgb(ImageOps.exif_transpose(image) if turn else image)
    except Exception as error:
        raise ValueError(f"is truncated or damaged ({_first_line(error)})") from None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:100]


def _as_rgb(image: Image.Image) -> Image.Image:
    """Grey, palette, RGBA and CMYK as RGB; 16-bit grey is scaled, which Pillow would clip."""
    if image.mode.startswith("I"):
        grey = np.asarray(image).clip(0, 65535) // 257
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    return image.convert("RGB")
