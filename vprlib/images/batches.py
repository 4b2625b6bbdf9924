"""Streams images to the network in batches of one image size, decoded ahead by threads."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np

from vprlib.images.decode import (
    ImageSettings,
    check_unchanged,
    decode,
    problem_of,
    read_file,
    target_size,
)
from vprlib.images.index import ImageIndex, read_index
from vprlib.pipeline.inside import inside
from vprlib.pipeline.params import UserError
from vprlib.pipeline.runtime import RuntimeSettings

# Batches depend on the images alone, never on `runtime`, so that the same arithmetic gives the
# same bytes. 2 Mpx keep VGG16's largest activation below 600 MB.
PIXELS_A_BATCH = 2**21
IMAGES_A_BATCH = 32
Loaded = TypeVar("Loaded")


@dataclass(frozen=True)
class ImageSource:
    """The images of an index on disk, and how they are decoded."""

    index: ImageIndex
    folder: Path
    settings: ImageSettings

    def take(self, rows: np.ndarray) -> "ImageSource":
        return ImageSource(self.index.take(rows), self.folder, self.settings)

    def sizes(self) -> np.ndarray:
        """Width and height [N, 2] of the images as the network sees them."""
        i = self.index
        boxes = i.extra["box"].tolist() if "box" in i.extra else [None] * len(i)
        stored = zip(i.widths.tolist(), i.heights.tolist(), i.is_rotated.tolist(), strict=True)
        sizes = [target_size(*s, self.settings, b) for s, b in zip(stored, boxes, strict=True)]
        return np.array(sizes, int).reshape(-1, 2)

    def pixels(self, row: int) -> np.ndarray:
        """One image, uint8 [H, W, 3]; raises an error for a changed or broken one."""
        found = self.pixels_or_problem(row)
        if isinstance(found, np.ndarray):
            return found
        again = f"run `dvc repro -f -s parse_mat@{self.index.set_name}`."
        mend = " since the set was parsed: restore it, or"
        if self.index.digests[row] < 0:
            mend = ": replace it, and"
        raise UserError(f"{self._path(row)} {found}{mend} {again}")

    def pixels_or_problem(self, row: int) -> np.ndarray | str:
        """The pixels, or what is wrong with the image."""
        try:
            return decode(self._path(row), self.index.info(row), self.settings)
        except (OSError, ValueError) as error:
            return problem_of(error)

    def problem(self, row: int) -> str | None:
        """What has changed in the file since it was parsed; it is not decoded."""
        try:
            check_unchanged(read_file(self._path(row)), self.index.info(row))
        except (OSError, ValueError) as error:
            return problem_of(error)
        return None

    def _path(self, row: int) -> Path:
        return inside(self.folder, self.index.names[row], self.index.set_name)


def open_source(index_path: Path, folder: Path, settings: ImageSettings) -> ImageSource:
    return ImageSource(read_index(index_path), folder, settings)


@dataclass(frozen=True)
class Batch:
    rows: np.ndarray  # [B] rows of the index
    pixels: np.ndarray  # uint8 [B, H, W, 3]


def plan_batches(sizes: np.ndarray, rows: Sequence[int] | np.ndarray) -> list[np.ndarray]:
    """The rows in batches of one image size each, in order of first appearance."""
    rows = np.asarray(rows)
    if not len(rows):
        return []
    _, first, group = np.unique(sizes[rows], axis=0, return_index=True, return_inverse=True)
    batches = []
    for label in np.argsort(first):
        members = rows[group.reshape(-1) == label]
        limit = images_a_batch(*sizes[members[0]])
        batches += np.array_split(members, -(-len(members) // limit))
    return batches


def images_a_batch(width: int, height: int) -> int:
    return max(2, min(IMAGES_A_BATCH, PIXELS_A_BATCH // (width * height)))


def stream(
    source: ImageSource, batches: Iterable[np.ndarray], runtime: RuntimeSettings
) -> Generator[Batch, None, None]:
    """The batches in order, at most a quarter of the memory budget decoded ahead."""
    batches = list(batches)
    groups = ([partial(source.pixels, int(row)) for row in rows] for rows in batches)
    largest = 3 * int(source.sizes().prod(axis=1).max(initial=1))
    ahead = groups_ahead(largest * IMAGES_A_BATCH, runtime)
    for rows, pixels in zip(batches, load_ahead(groups, runtime.workers, ahead), strict=True):
        yield Batch(rows, np.stack(pixels))


def groups_ahead(bytes_a_group: int, runtime: RuntimeSettings) -> int:
    """How many groups fit a quarter of the memory budget; at least one."""
    return max(1, min(8, runtime.memory_bytes // 4 // bytes_a_group))


def load_ahead(
    groups: Iterable[Sequence[Callable[[], Loaded]]], workers: int, ahead: int
) -> Generator[list[Loaded], None, None]:
    """Calls the functions of each group; threads work on the next groups meanwhile."""
    waiting: deque[list[Future[Loaded]]] = deque()
    upcoming = iter(groups)
    pool = ThreadPoolExecutor(workers)
    try:
        while True:
            for group in islice(upcoming, ahead + 1 - len(waiting)):
                waiting.append([pool.submit(load) for load in group])
            if not waiting:
                return
            yield [future.result() for future in waiting.popleft()]
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
