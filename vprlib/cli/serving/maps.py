"""A map in memory: a network and the database that it searches, all of one run."""

import functools
import hashlib
import shutil
import weakref
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np

from vprlib.cli.choice import Choice, SetParams
from vprlib.cli.finding.around import and_nearest, in_circle
from vprlib.cli.finding.describers import Describe, describer
from vprlib.cli.finding.searching import (
    CodeParams,
    PlaceParams,
    check_length,
    nearest,
)
from vprlib.cli.maps.opened import FoundInMap
from vprlib.cli.serving.answering import Answering, Asked, Circle, calibration_of
from vprlib.cli.serving.pinned import Pinned, Stamp, files_of, pin, stamp_of
from vprlib.cli.serving.recorded import Recorded
from vprlib.descriptors.codes import Code
from vprlib.descriptors.quantisers import Coded
from vprlib.descriptors.rows import Rows
from vprlib.images.batches import ImageSource
from vprlib.images.index import ImageIndex, check_order, read_index
from vprlib.pipeline import paths
from vprlib.pipeline.params import (
    PARAMS_PATH,
    JsonObject,
    UserError,
    look_up,
    read_params_file,
)
from vprlib.places.projection import Zone, degrees_of
from vprlib.search.approximate import searcher
from vprlib.search.groups import Group, InGroups
from vprlib.search.request import Searcher, no_neighbors

IN_MEMORY = 4  # a database up to this part of the memory is read whole


class Map(Answering):
    """Of the files of one run."""

    def __init__(self, choice: Choice, folder: Path, stamp: Stamp) -> None:
        """Reads all; refuses files that are not of one run. `stamp` is that of the files."""
        super().__init__(choice)
        stack = ExitStack()
        self._end = weakref.finalize(self, _clean, stack, folder)
        pinned = pin(choice, folder)
        tree, recorded = read_params_file(PARAMS_PATH), Recorded.read()
        self.params = p = SetParams.of(tree, dataset=choice.dataset)
        self.settings = CodeParams.of(tree, code=choice.code).search
        self.zone = PlaceParams.of(tree, dataset=choice.dataset).zone
        about = [p.images.model_dump(), self.settings, self.zone, p.folder]
        self.version = hashlib.sha256(repr([stamp, about]).encode()).hexdigest()[:12]
        why = recorded.problem(folder, files_of(choice))
        then = recorded.parameters(paths.descriptors(*choice, "db"))
        place = f"datasets.{choice.dataset}.images"
        if not why and then.get(place, look_up(tree, place)) != look_up(tree, place):
            why = f"{place} in {PARAMS_PATH} has changed"
        if why:
            raise UserError(f"{choice.title} is not of one run: {why}: run `dvc repro`.")
        self._read(pinned, stack)

    def _read(self, pinned: Pinned, stack: ExitStack) -> None:
        p = self.params
        self.index = read_index(pinned.index_path)
        check_order(pinned.descriptors_path, self.index)
        pinned.checked_network()
        self.degrees = known_degrees(self.index, self.zone)
        self.source = ImageSource(self.index, p.image_dir, p.images)
        self.code: Code = pinned.read_code(whitens=False)
        self.failed = pinned.failed_rows()
        self.search: Searcher = searcher(pinned.search_index_path, self.settings)
        self.calibration = calibration_of(pinned)
        self.rows = self._held(stack.enter_context(pinned.descriptors("db", len(self.index))))
        self.dim, self.images = self.rows.shape[1], len(self.index)
        self.is_geographic = self.degrees is not None
        found = describer(None, pinned, p, use_export=True)
        self.describe: Describe = found.resident(p.runtime)
        trial = self.describe(np.zeros((1, *self._trial_size(), 3), np.uint8))
        check_length(trial, self.rows, self.choice.model_path)

    def _held(self, rows: Rows) -> Rows:
        """In memory, if a database of this size may be."""
        stored = rows.codes if isinstance(rows, Coded) else rows
        size = stored.dtype.itemsize * int(np.prod(stored.shape))
        if size > self.params.runtime.memory_bytes // IN_MEMORY:
            return rows
        held = stored[:]
        return Coded(held, rows.quantiser) if isinstance(rows, Coded) else held

    def _trial_size(self) -> tuple[int, int]:
        """Height and width of the first image, which an export may take alone."""
        sizes = self.source.take(np.arange(min(1, len(self.index)))).sizes()
        return (int(sizes[0, 1]), int(sizes[0, 0])) if len(sizes) else (120, 160)

    def around(self, circle: Circle) -> np.ndarray:
        """The rows within a circle."""
        if self.degrees is None:
            raise UserError(
                f"latitude and longitude of {self.choice.dataset} are not known: leave near out, or"
                f" set datasets.{self.choice.dataset}.utm_zone, such as 17N."
            )
        *centre, metres = circle
        found, away = in_circle(np.array(centre), metres, self.degrees)
        if not len(found):
            far = and_nearest(away)
            raise UserError(f"no image of the map lies within {metres:g} m of near{far}.")
        return found

    def check_circle(self, circle: Circle) -> None:
        self.around(circle)

    def _image(self, row: int) -> str | None:
        return f"/v1/images/{self.choice.dataset}/{self.version}/{row}"

    def _found(self, vectors: np.ndarray, asked: Sequence[Asked], depth: int) -> FoundInMap:
        """Photographs with one circle are searched together."""
        groups: dict[Circle | None, list[int]] = {}
        for number, one in enumerate(asked):
            groups.setdefault(one.circle, []).append(number)
        found = no_neighbors((len(asked), min(depth, len(self.index))))
        for circle, numbers in groups.items():
            search = self.search
            if circle is not None:
                every = np.arange(len(numbers))
                search = InGroups(search, [Group(every, self.around(circle))])
            part = vectors[numbers]
            runtime = self.params.runtime
            near = nearest(part, self.rows, self.code, depth, runtime, self.failed, search)
            found.rows[numbers], found.distances[numbers] = near.rows, near.distances
        return FoundInMap(self.index, self.degrees, found)


def known_degrees(index: ImageIndex, zone: Zone) -> np.ndarray | None:
    """Longitudes and latitudes; None where no image has any."""
    found = degrees_of(index, zone)
    return found if found is not None and np.isfinite(found).any() else None


def of_images(index: ImageIndex, degrees: np.ndarray | None) -> JsonObject:
    return {"images": len(index), "geographic": degrees is not None}


@functools.lru_cache(64)
def _unread(path: Path, _stamp: Stamp, zone: Zone) -> JsonObject:
    index = read_index(path)
    return of_images(index, known_degrees(index, zone))


def of_unread(choice: Choice) -> JsonObject:
    """What is known of the images of a map that is not in memory."""
    path = paths.index(choice.dataset, "db")
    with suppress(UserError, OSError, ValueError):
        zone = PlaceParams.load(dataset=choice.dataset).zone
        return dict(_unread(path, stamp_of([path]), zone))
    return {}


def _clean(stack: ExitStack, folder: Path) -> None:
    stack.close()
    shutil.rmtree(folder, ignore_errors=True)
