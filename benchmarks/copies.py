"""How far copies and strangers of the city look apart: `python -m benchmarks.copies`."""

import io
import json
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import numpy as np
import typer
from PIL import Image, ImageEnhance

from vprlib.images.decode import THUMBNAIL as GRID
from vprlib.images.fingerprints import read_fingerprints
from vprlib.images.hashes import image_hashes
from vprlib.images.index import read_index

PARTS = ("train", "val", "test")


def main(
    index: Path = typer.Option(Path("data/index"), help="what fingerprint wrote"),
    raw: Path = typer.Option(Path("data/raw/city"), help="the images"),
    step: int = typer.Option(7, help="every so many images of city_test are copied"),
    out: Path | None = typer.Option(None, "--json", help="where to write the figures"),
) -> None:
    """Prints the bits that differ between copies of an image, and between images of two sets."""
    found = {
        part: [
            side.hashes.bits for side in read_fingerprints(index / f"city_{part}/fingerprints.h5")
        ]
        for part in PARTS
    }
    told: dict[str, dict[str, float]] = {"copies": {}, "strangers": {}}
    apart: dict[str, list[int]] = {}
    for side, bits in zip(("db", "queries"), found["test"], strict=True):
        images = read_index(index / f"city_test/{side}.h5")
        for row in range(0, len(images), step):
            for name, content in copies(Image.open(raw / images.names[row])):
                apart.setdefault(name, []).append(differing(bits[row], bits_of(content)))
    for name, values in apart.items():
        told["copies"][f"{name}, median"] = float(np.median(values))
        told["copies"][f"{name}, most"] = max(values)
    for one, other in combinations(PARTS, 2):
        both = [np.unpackbits(np.concatenate(found[part]), axis=1) for part in (one, other)]
        these, others = (bits.astype(np.float32) for bits in both)
        bits = these @ (1 - others.T) + (1 - these) @ others.T
        told["strangers"][f"{one} and {other}, least"] = float(bits.min())
        told["strangers"][f"{one} and {other}, mean"] = round(float(bits.mean()), 1)
        told["strangers"][f"{one} and {other}, deviation"] = round(float(bits.std()), 1)
    text = json.dumps(told, indent=2)
    typer.echo(text)
    if out is not None:
        out.write_text(f"{text}\n")


def copies(image: Image.Image) -> Iterator[tuple[str, bytes]]:
    """The image as others would have it."""
    width, height = image.size
    margins = (0.02 * width, 0.02 * height, 0.98 * width, 0.98 * height)
    changed = {
        "half": image.resize((width // 2, height // 2), Image.Resampling.BICUBIC),
        "double": image.resize((width * 2, height * 2), Image.Resampling.BICUBIC),
        "three quarters": image.resize((width * 3 // 4, height * 4 // 5)),
        "30 % brighter": ImageEnhance.Brightness(image).enhance(1.3),
        "30 % darker": ImageEnhance.Brightness(image).enhance(0.7),
        "more contrast": ImageEnhance.Contrast(image).enhance(1.3),
        "grey": image.convert("L"),
        "cropped by 2 %": image.crop(tuple(int(edge) for edge in margins)),
    }
    for name, copy in changed.items():
        yield name, saved(copy, quality=90)
    yield "JPEG quality 30", saved(image, quality=30)
    yield "PNG", saved(image, format="PNG")


def saved(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, **{"format": "JPEG", **options})
    return buffer.getvalue()


def bits_of(content: bytes) -> np.ndarray:
    image = Image.open(io.BytesIO(content)).convert("RGB")
    small = image.resize((GRID, GRID), Image.Resampling.BILINEAR, reducing_gap=3.0)
    return image_hashes(np.asarray(small.convert("L"), np.float64)[None]).bits[0]


def differing(one: np.ndarray, other: np.ndarray) -> int:
    return int(np.unpackbits(one ^ other).sum())


if __name__ == "__main__":
    typer.run(main)
