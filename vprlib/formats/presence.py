"""Holds the names of a specification against the files on disk."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

# a file that exists under one of these in place of another is the one that is meant
_SUFFIXES = (".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG")
_IMAGES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm"}


@dataclass(frozen=True)
class Presence:
    """One side of a set on disk."""

    names: list[str]  # as they are there, where they are
    renamed: int  # how many have another suffix there
    missing: list[str]


def find_images(names: Sequence[str], folder: Path) -> Presence:
    """Each name as a file below the folder, if need be under another suffix of an image."""
    found = [_on_disk(name, folder) for name in names]
    return Presence(
        [there or name for name, there in zip(names, found, strict=True)],
        sum(there not in (None, name) for name, there in zip(names, found, strict=True)),
        [name for name, there in zip(names, found, strict=True) if there is None],
    )


def images_below(folder: Path) -> list[Path]:
    """All image files of a folder and its subfolders, linked ones too, sorted; no hidden ones."""
    found = [
        Path(inside) / name
        for inside, _, names in os.walk(folder, followlinks=True)
        for name in names
        if not name.startswith(".") and Path(name).suffix.lower() in _IMAGES
    ]
    return sorted(found)


def _on_disk(name: str, folder: Path) -> str | None:
    stem, dot, suffix = name.rpartition(".")
    others = [f"{stem}{other}" for other in _SUFFIXES if dot + suffix in _SUFFIXES]
    return next((other for other in (name, *others) if _is_file(folder / other)), None)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name too long for the file system
        return False
