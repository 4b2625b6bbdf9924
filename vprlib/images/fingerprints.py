"""What tells the images of a set apart from those of others: bytes, looks, and places."""

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

GRID = 32  # pixels a side of what is looked at
WAVES = 16  # a side of the low frequencies that are kept: 256 bits, the mean's own unused
PLAIN = 3.0  # grey levels of deviation; below it there is nothing to tell images apart by
IMAGES_A_GROUP = 64


@dataclass(frozen=True)
class Looks:
    """What the images of one side show."""

    bits: np.ndarray  # uint8 [N, 32]
    # [N] bool: one colour all over, and so like every other such image, or left out
    is_plain: np.ndarray

    def take(self, rows: np.ndarray) -> "Looks":
        return Looks(self.bits[rows], self.is_plain[rows])


def joined(parts: Iterable[Looks]) -> Looks:
    parts = list(parts)
    return Looks(
        np.concatenate([part.bits for part in parts]),
        np.concatenate([part.is_plain for part in parts]),
    )


def look_at(
    index: ImageIndex, folder: Path, runtime: RuntimeSettings, unreadable: Unreadable = "stop"
) -> Looks:
    """Opens every image of an index once, a few at a time; one that is left out looks plain."""
    source = ImageSource(index, folder, ImageSettings(resize=(GRID, GRID), exif_rotate=True))
    rows = np.array_split(np.arange(len(index)), -(-len(index) // IMAGES_A_GROUP))
    opened = source.pixels if unreadable == "stop" else source.tried
    groups = ([partial(opened, int(row)) for row in part] for part in rows)
    found = progress(load_ahead(groups, runtime.workers, 2), len(rows), "looking", "group")
    return joined(look(np.stack([_grey(pixels) for pixels in group])) for group in found)


def look(grey: np.ndarray) -> Looks:
    """Signs of the low frequencies of pictures [N, 32, 32], the mean left out.

    Brightness moves the mean alone and contrast no sign; fine detail is not looked at.
    """
    waves = _cosines()
    found = np.einsum("ui,nij,vj->nuv", waves, grey, waves).reshape(len(grey), -1) > 0
    found[:, 0] = False
    return Looks(np.packbits(found, axis=1), grey.std(axis=(1, 2)) < PLAIN)


def _cosines() -> np.ndarray:
    """The first rows of the discrete cosine transform [WAVES, GRID]."""
    places = np.arange(GRID) + 0.5
    return np.cos(np.pi * places * np.arange(WAVES)[:, None] / GRID)


def _grey(pixels: np.ndarray | str) -> np.ndarray:
    """Levels [GRID, GRID]; all the same where the image could not be read."""
    if isinstance(pixels, str):
        return np.zeros((GRID, GRID))
    return np.asarray(Image.fromarray(pixels).convert("L"), np.float64)


def are_alike(these: Looks, others: Looks, bits: int) -> np.ndarray:
    """Whether each of these [N] has another that differs in at most so many of the 256 bits."""
    import faiss  # takes a moment

    found = np.zeros(len(these.bits), bool)
    wanted, known = np.flatnonzero(~these.is_plain), others.bits[~others.is_plain]
    if len(wanted) and len(known):
        search = faiss.IndexBinaryFlat(8 * known.shape[1])
        search.add(known)
        apart, _ = search.search(these.bits[wanted], 1)
        found[wanted] = apart[:, 0] <= bits
    return found


@dataclass(frozen=True)
class Prints:
    """Of the images of one side, in the order of its index."""

    set_name: str
    names: list[str]
    digests: np.ndarray  # [N] of the bytes
    positions: np.ndarray  # [N, 2] metres, NaN where not known
    looks: Looks

    def __len__(self) -> int:
        return len(self.names)


def prints_of(
    index: ImageIndex, folder: Path, runtime: RuntimeSettings, unreadable: Unreadable
) -> Prints:
    """Opens every image once."""
    looks = look_at(index, folder, runtime, unreadable)
    return Prints(index.set_name, index.names, index.digests, index.positions, looks)


def write_prints(path: Path, database: Prints, queries: Prints) -> None:
    arrays: dict[str, np.ndarray | list[str]] = {}
    for side, p in (("database", database), ("queries", queries)):
        parts = {"names": p.names, "digests": p.digests, "positions": p.positions}
        arrays |= {f"{side}/{name}": values for name, values in (parts | vars(p.looks)).items()}
    write_hdf5(path, arrays, {"set": database.set_name})


def read_prints(path: Path) -> Iterable[Prints]:
    """The database and the queries."""
    with h5py.File(path) as file:
        return [
            Prints(
                str(file.attrs["set"]),
                list(group["names"].asstr()[:]),
                group["digests"][:],
                group["positions"][:],
                Looks(group["bits"][:], group["is_plain"][:]),
            )
            for group in (file["database"], file["queries"])
        ]
