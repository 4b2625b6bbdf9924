"""Whether descriptors on disk are of the images that an index names, in its order."""

import hashlib
from pathlib import Path

import h5py

from vprlib.index import ImageIndex
from vprlib.params import UserError

ATTRIBUTE = "images"  # of a file of descriptors


def signature(index: ImageIndex) -> str:
    """Changes with the images, their contents and their order."""
    told = hashlib.blake2b("\n".join(index.names).encode(), digest_size=16)
    told.update(index.digests.astype("<i8").tobytes())
    return told.hexdigest()


def check(path: Path, index: ImageIndex) -> None:
    """Refuses descriptors of other images; a file that does not say of which is let through."""
    with h5py.File(path) as file:
        found = file.attrs.get(ATTRIBUTE)
    if found is not None and found != signature(index):
        raise UserError(
            f"{path} describes other images than the index of {index.set_name} names, or in"
            " another order: names and features are out of step; run `dvc repro`."
        )
