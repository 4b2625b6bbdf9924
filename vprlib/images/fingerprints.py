"""Fingerprints of images: digests of their bytes, perceptual hashes, and positions."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

from vprlib.images.batches import ImageSource, load_ahead
from vprlib.images.decode import ImageSettings
from vprlib.images.index import ImageIndex, Unreadable
from vprlib.pipeline.artifacts import write_hdf5
from vprlib.pipeline.progress import progress
from vprlib.pipeline.runtime import RuntimeSettings

GRID = 32  # pixels per side of the image that is hashed
WAVES = 16  # low frequencies per side: 256 bits, of which the mean's is not used
PLAIN = 3.0  # standard deviation in grey levels; an image below it has no useful hash
IMAGES_A_GROUP = 64


@dataclass(frozen=True)
class ImageHashes:
    """Perceptual hashes of the images of one side."""

    bits: np.ndarray  # uint8 [N, 32]
    is_plain: np.ndarray  # bool [N], of one colour, or not readable

    def take(self, rows: np.ndarray) -> "ImageHashes":
        return ImageHashes(self.bits[rows], self.is_plain[rows])


def join_hashes(parts: Iterable[ImageHashes]) -> ImageHashes:
    parts = list(parts)
    return ImageHashes(
        np.concatenate([part.bits for part in parts]),
        np.concatenate([part.is_plain for part in parts]),
    )


def hash_images(
    index: ImageIndex, folder: Path, runtime: RuntimeSettings, unreadable: Unreadable = "stop"
) -> ImageHashes:
    """Opens every image once; one that is left out counts as plain."""
    source = ImageSource(index, folder, ImageSettings(resize=(GRID, GRID), exif_rotate=True))
    rows = np.array_split(np.arange(len(index)), -(-len(index) // IMAGES_A_GROUP))
    load = source.pixels if unreadable == "stop" else source.pixels_or_problem
    groups = ([partial(load, int(row)) for row in part] for part in rows)
    found = progress(load_ahead(groups, runtime.workers, 2), len(rows), "hashing", "group")
    return join_hashes(
        image_hashes(np.stack([_grey(pixels) for pixels in group])) for group in found
    )


def image_hashes(grey: np.ndarray) -> ImageHashes:
    """Signs of the low frequencies of images [N, 32, 32], without the mean.

    Brightness changes the mean alone, contrast changes no sign, and fine detail is ignored.
    """
    waves = _cosines()
    found = np.einsum("ui,nij,vj->nuv", waves, grey, waves).reshape(len(grey), -1) > 0
    found[:, 0] = False
    return ImageHashes(np.packbits(found, axis=1), grey.std(axis=(1, 2)) < PLAIN)


def _cosines() -> np.ndarray:
    """The first rows of the discrete cosine transform [WAVES, GRID]."""
    places = np.arange(GRID) + 0.5
    return np.cos(np.pi * places * np.arange(WAVES)[:, None] / GRID)


def _grey(pixels: np.ndarray | str) -> np.ndarray:
    """Grey levels [GRID, GRID]; zeros for an image that could not be read."""
    if isinstance(pixels, str):
        return np.zeros((GRID, GRID))
    return np.asarray(Image.fromarray(pixels).convert("L"), np.float64)


def are_alike(these: ImageHashes, others: ImageHashes, bits: int) -> np.ndarray:
    """Whether each image [N] has one among the others that differs in at most `bits` of 256."""
    import faiss  # takes a moment

    found = np.zeros(len(these.bits), bool)
    rows, known = np.flatnonzero(~these.is_plain), others.bits[~others.is_plain]
    if len(rows) and len(known):
        search = faiss.IndexBinaryFlat(8 * known.shape[1])
        search.add(known)
        apart, _ = search.search(these.bits[rows], 1)
        found[rows] = apart[:, 0] <= bits
    return found


@dataclass(frozen=True)
class Fingerprints:
    """The images of one side, in the order of its index."""

    set_name: str
    names: list[str]
    digests: np.ndarray  # [N] of the files' bytes
    positions: np.ndarray  # [N, 2] metres, NaN where not known
    hashes: ImageHashes

    def __len__(self) -> int:
        return len(self.names)


def take_fingerprints(
    index: ImageIndex, folder: Path, runtime: RuntimeSettings, unreadable: Unreadable
) -> Fingerprints:
    """Opens every image once."""
    hashes = hash_images(index, folder, runtime, unreadable)
    return Fingerprints(index.set_name, index.names, index.digests, index.positions, hashes)


def write_fingerprints(path: Path, database: Fingerprints, queries: Fingerprints) -> None:
    arrays: dict[str, np.ndarray | list[str]] = {}
    for side, p in (("database", database), ("queries", queries)):
        parts = {"names": p.names, "digests": p.digests, "positions": p.positions}
        arrays |= {f"{side}/{name}": values for name, values in (parts | vars(p.hashes)).items()}
    write_hdf5(path, arrays, {"set": database.set_name})


def read_fingerprints(path: Path) -> Iterable[Fingerprints]:
    """The database and the queries."""
    with h5py.File(path) as file:
        return [
            Fingerprints(
                str(file.attrs["set"]),
                list(group["names"].asstr()[:]),
                group["digests"][:],
                group["positions"][:],
                ImageHashes(group["bits"][:], group["is_plain"][:]),
            )
            for group in (file["database"], file["queries"])
        ]
