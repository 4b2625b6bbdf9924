"""Perceptual hashes: 256 bits that stay the same in copies of an image."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from vprlib.images.decode import THUMBNAIL

WAVES = 16  # low frequencies per side: 256 bits, of which the mean's is not used
PLAIN = 3.0  # standard deviation in grey levels; an image below it has no useful hash


@dataclass(frozen=True)
class ImageHashes:
    """Perceptual hashes of the images of one side."""

    bits: np.ndarray  # uint8 [N, 32]
    is_plain: np.ndarray  # bool [N], of one colour, or not readable


def join_hashes(parts: Iterable[ImageHashes]) -> ImageHashes:
    parts = [image_hashes(np.zeros((0, THUMBNAIL, THUMBNAIL))), *parts]
    return ImageHashes(
        np.concatenate([part.bits for part in parts]),
        np.concatenate([part.is_plain for part in parts]),
    )


def image_hashes(grey: np.ndarray) -> ImageHashes:
    """Signs of the low frequencies of images [N, 32, 32], without the mean.

    Brightness changes the mean alone, contrast changes no sign, and fine detail is ignored.
    """
    # the first rows of the discrete cosine transform [WAVES, THUMBNAIL]
    places = np.arange(THUMBNAIL) + 0.5
    waves = np.cos(np.pi * places * np.arange(WAVES)[:, None] / THUMBNAIL)
    found = np.einsum("ui,nij,vj->nuv", waves, grey, waves).reshape(len(grey), WAVES**2) > 0
    found[:, 0] = False
    return ImageHashes(np.packbits(found, axis=1), grey.std(axis=(1, 2)) < PLAIN)


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
