"""The index of a set: its images in order, what is known of each, and a signature of all."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from vprlib.images.decode import THUMBNAIL, Box, ImageInfo, digest_of, inspect, problem_of
from vprlib.images.hashes import ImageHashes, image_hashes, join_hashes
from vprlib.images.seen import Seen
from vprlib.pipeline.artifacts import write_hdf5
from vprlib.pipeline.inside import inside
from vprlib.pipeline.params import UserError
from vprlib.pipeline.stored import reading

_ARRAYS = ("positions", "byte_sizes", "widths", "heights", "is_rotated", "digests")
_KINDS = dict(zip(_ARRAYS, "fiiibi", strict=True))
SESSION = "session"
_EXTRA = {
    **{"box": ("f", "N 4"), "heading": ("f", "N"), "light": ("O", "N"), "time": ("fO", "N")},
    **{"degrees": ("f", "N 2"), SESSION: ("O", "N")},
}
SIGNATURE = "images"  # attribute of a file of descriptors
# images that cannot be read. stop: name them and stop; leave_out: report them and go on
Unreadable = Literal["stop", "leave_out"]


@dataclass(frozen=True)
class Looked:
    """What one look at an image leaves behind."""

    info: ImageInfo
    bits: str  # of its perceptual hash
    is_plain: bool

    @property
    def hashes(self) -> ImageHashes:
        bits = np.frombuffer(bytes.fromhex(self.bits), np.uint8)
        return ImageHashes(bits[None], np.array([self.is_plain]))


@dataclass(frozen=True)
class ImageIndex:
    """Images in the order of the specification."""

    set_name: str
    names: list[str]  # relative to the data set's folder
    positions: np.ndarray  # [N, 2] float64 metres
    byte_sizes: np.ndarray
    widths: np.ndarray  # as stored
    heights: np.ndarray
    is_rotated: np.ndarray  # EXIF swaps width and height
    digests: np.ndarray  # of the bytes; negative where the image could not be read
    extra: Mapping[str, np.ndarray]  # columns of _EXTRA, where known; degrees: longitude, latitude
    hashes: ImageHashes | None = None  # of an index that was just built

    def __len__(self) -> int:
        return len(self.names)

    @property
    def unread(self) -> np.ndarray:
        """Rows of images that could not be read; they stay in the index."""
        return np.flatnonzero(self.digests < 0)

    def take(self, rows: np.ndarray) -> "ImageIndex":
        """The index of these rows, in this order."""
        arrays = {name: getattr(self, name)[rows] for name in _ARRAYS}
        extra = {name: values[rows] for name, values in self.extra.items()}
        names = [self.names[row] for row in rows]
        return replace(self, names=names, **arrays, extra=extra, hashes=None)

    def info(self, row: int) -> ImageInfo:
        """What parsing found in one image file."""
        box = tuple(self.extra["box"][row].tolist()) if "box" in self.extra else None
        facts = (getattr(self, name)[row].item() for name in _ARRAYS[1:])
        return replace(ImageInfo(*facts), box=box)


def build_index(
    set_name: str,
    names: Sequence[str],
    positions: np.ndarray,
    folder: Path,
    extra: Mapping[str, np.ndarray],
    workers: int,
    unreadable: Unreadable = "stop",
    seen: Seen[Looked] | None = None,
) -> ImageIndex:
    """Opens images that were not seen before; raises an error for damaged ones, or marks them."""
    boxes = extra["box"].tolist() if "box" in extra else [None] * len(names)
    found = _inspect_all(folder, names, boxes, workers, seen or Seen())
    damaged = [f"{n} {o}" for n, o in zip(names, found, strict=True) if isinstance(o, str)]
    whole = [one.info for one in found if not isinstance(one, str)]
    if damaged and (unreadable == "stop" or not whole):
        raise UserError(
            f"{len(damaged)} of {len(names)} images below {folder} cannot be used:"
            f" {'; '.join(damaged[:3])}{'; …' if len(damaged) > 3 else ''};"
            " replace them and run again."
        )
    infos = [  # of an unreadable image: the size of another, and a digest that no content has
        replace(whole[0], byte_size=0, digest=-1 - digest_of(name.encode()))
        if isinstance(one, str)
        else one.info
        for name, one in zip(names, found, strict=True)
    ]
    unreadable_hash = image_hashes(np.zeros((1, THUMBNAIL, THUMBNAIL)))  # like no other
    hashes = [unreadable_hash if isinstance(one, str) else one.hashes for one in found]
    return ImageIndex(
        set_name,
        list(names),
        positions,
        byte_sizes=np.array([o.byte_size for o in infos], dtype=np.int64),
        widths=np.array([o.width for o in infos], dtype=np.int32),
        heights=np.array([o.height for o in infos], dtype=np.int32),
        is_rotated=np.array([o.is_rotated for o in infos], dtype=bool),
        digests=np.array([o.digest for o in infos], dtype=np.int64),
        extra=extra,
        hashes=join_hashes(hashes),
    )


def _inspect_all(
    folder: Path,
    names: Sequence[str],
    boxes: Sequence[Box | None],
    workers: int,
    seen: Seen[Looked],
) -> list[Looked | str]:
    """What is found in each image, or its problem."""

    def look(row: int) -> Looked | str:
        try:
            one = inspect(inside(folder, names[row], folder), boxes[row])
        except (OSError, ValueError) as error:
            return problem_of(error)
        hashes = image_hashes(one.thumbnail[None])
        return Looked(one.info, hashes.bits.tobytes().hex(), bool(hashes.is_plain[0]))

    paths = [folder / name for name in names]
    return seen.look(paths, look, workers, "checking images", boxes)


def write_index(
    path: Path,
    index: ImageIndex,
    attributes: Mapping[str, float] | None = None,
    truth: Mapping[str, np.ndarray] | None = None,
) -> None:
    """`truth` belongs to the queries of a specification without positions."""
    arrays = {name: getattr(index, name) for name in _ARRAYS}
    extra = {f"extra/{name}": values for name, values in index.extra.items()}
    listed = {f"truth/{name}": values for name, values in (truth or {}).items()}
    write_hdf5(
        path,
        {"names": index.names, **arrays, **extra, **listed},
        {"set": index.set_name, **(attributes or {})},
    )


def read_index(path: Path) -> ImageIndex:
    with reading(path) as file:
        names = file.array("names", "O", "N").tolist()
        sizes = {"positions": "N 2"}
        arrays: dict[str, Any] = {
            name: file.array(name, _KINDS[name], sizes.get(name, "N")) for name in _ARRAYS
        }
        extra = {
            name: file.array(f"extra/{name}", *form)
            for name, form in _EXTRA.items()
            if f"extra/{name}" in file
        }
        if len(names) and min(arrays["widths"].min(), arrays["heights"].min()) < 1:
            file.refuse("an image has no pixels")
        return ImageIndex(file.text("set"), names, **arrays, extra=extra)


def signature(index: ImageIndex) -> str:
    """A digest that changes when the images, their contents or their order change."""
    digest = hashlib.blake2b("\n".join(index.names).encode(), digest_size=16)
    digest.update(index.digests.astype("<i8").tobytes())
    return digest.hexdigest()


def check_order(path: Path, index: ImageIndex) -> None:
    """Refuses descriptors of other images, or in another order; older files have no signature."""
    with reading(path) as file:
        found = file.text(SIGNATURE) if file.has_attribute(SIGNATURE) else None
    if found is not None and found != signature(index):
        raise UserError(
            f"{path} holds descriptors of other images than the index of {index.set_name} lists, or"
            " in another order: run `dvc repro`."
        )
