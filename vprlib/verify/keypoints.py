"""The local features of a set in one file; an interrupted run resumes."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np

from vprlib.images.batches import load_ahead
from vprlib.images.index import ImageIndex, signature
from vprlib.pipeline.artifacts import write_hdf5, writing_hdf5
from vprlib.pipeline.params import UserError
from vprlib.pipeline.paths import Side
from vprlib.pipeline.progress import counting
from vprlib.pipeline.resume import Scratch
from vprlib.pipeline.runtime import RuntimeSettings
from vprlib.pipeline.stored import Stored, reading
from vprlib.verify.features import DIMENSIONS, NOTHING, Features, Looker, threads

IMAGES_A_PART = 64
LARGEST = 2**17  # pixels, above any side of an image that is looked at
KINDS = {"points": ("f", "2"), "descriptors": ("u", str(DIMENSIONS))}


def write_keypoints(
    path: Path, lookers: Mapping[Side, Looker], kept: Scratch, runtime: RuntimeSettings
) -> dict[Side, np.ndarray]:
    """Writes the features of both sides; gives how many each image has.

    What is done is kept in parts, which are the same wherever the work was interrupted.
    """
    parts = {side: _parts(side, look, kept.folder, runtime) for side, look in lookers.items()}
    none = np.zeros(0, np.int64)
    counts = {s: np.concatenate([none, *map(_counts, found)]) for s, found in parts.items()}
    with writing_hdf5(path) as file:
        for side, look in lookers.items():
            file.attrs[f"{side}_images"] = signature(look.source.index)
            starts = np.append(0, np.cumsum(counts[side]))
            file.create_dataset(f"{side}/starts", data=starts)
            file.create_dataset(f"{side}/points", (starts[-1], 2), np.float32)
            file.create_dataset(f"{side}/descriptors", (starts[-1], DIMENSIONS), np.uint8)
            _join(file[side], parts[side])
    kept.remove()
    return counts


def _parts(side: Side, look: Looker, folder: Path, runtime: RuntimeSettings) -> list[Path]:
    """The files of parts, which are made where an earlier run has not."""
    images = len(look.source.index)
    ends = [*range(0, images, IMAGES_A_PART), images]
    parts = {folder / f"{side}_{start}.h5": range(start, end) for start, end in pairwise(ends)}
    todo = {part: rows for part, rows in parts.items() if not _is_done(part)}
    groups = [[partial(look, row) for row in rows] for rows in todo.values()]
    with counting(sum(map(len, todo.values())), "finding keypoints") as count:
        found = load_ahead(groups, threads(runtime, look.bytes_each), ahead=1)
        for part, features in zip(todo, found, strict=True):
            arrays = {name: np.concatenate([*values]) for name, values in _columns(features)}
            counts = np.array([len(one.points) for one in features])
            is_whole = all(one is not NOTHING for one in features)
            write_hdf5(part, {"counts": counts, **arrays}, {"is_whole": is_whole})
            count(len(counts), 0)
    return list(parts)


def _reading(part: Path) -> AbstractContextManager[Stored]:
    return reading(part, f"remove {part.parent} and run again")


def _is_done(part: Path) -> bool:
    """Where an image could not be read, it is tried again."""
    if not part.exists():
        return False
    with _reading(part) as file:
        return file.truth("is_whole")


def _columns(features: Sequence[Features]) -> Iterator[tuple[str, tuple[np.ndarray, ...]]]:
    return zip(Features._fields, zip(*features, strict=True), strict=True)


def _counts(part: Path) -> np.ndarray:
    with _reading(part) as file:
        return file.array("counts", "i", "N")


def _join(group: h5py.Group, parts: Sequence[Path]) -> None:
    start = 0
    for part in parts:
        with _reading(part) as file:
            for name, (kind, width) in KINDS.items():
                values = file.array(name, kind, f"M {width}")
                group[name][start : start + len(values)] = values
        start += len(values)


@dataclass(frozen=True)
class StoredSide:
    """The features of one side on disk; gives those of an image."""

    file: Stored
    starts: np.ndarray  # [N + 1]
    points: h5py.Dataset
    descriptors: h5py.Dataset

    @property
    def most(self) -> int:
        """Keypoints of an image."""
        return int(np.diff(self.starts).max(initial=0))

    def __call__(self, row: int) -> Features:
        here = slice(*self.starts[row : row + 2].tolist())
        points = self.points[here].astype(np.float32)
        if not ((points >= 0) & (points < LARGEST)).all():
            self.file.refuse("it has points that lie in no image")
        return Features(points, self.descriptors[here].astype(np.uint8))


@contextmanager
def opened_keypoints(
    path: Path, indices: Mapping[Side, ImageIndex]
) -> Iterator[dict[Side, StoredSide]]:
    """The sides of these indices, which must be of the same images as the file."""
    with reading(path) as file:
        yield {side: _side(file, side, index) for side, index in indices.items()}


def _side(file: Stored, side: Side, index: ImageIndex) -> StoredSide:
    if file.text(f"{side}_images") != signature(index):
        raise UserError(
            f"{file.path} holds keypoints of other images than the index of {index.set_name}"
            " lists, or in another order: run `dvc repro`."
        )
    starts = file.array(f"{side}/starts", "i", f"{side}_starts")
    points, descriptors = (
        file.rows(f"{side}/{name}", kind, f"{side}_rows {width}")
        for name, (kind, width) in KINDS.items()
    )
    is_rising = len(starts) == len(index) + 1 and starts[0] == 0 and (np.diff(starts) >= 0).all()
    if not is_rising or starts[-1] != len(points):
        file.refuse(f"'{side}/starts' does not say where the keypoints of each image begin")
    return StoredSide(file, starts, points, descriptors)
