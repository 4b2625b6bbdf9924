"""A map in memory: a network and the database that it searches, all of one run."""

import functools
import hashlib
import shutil
import weakref
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from vprlib.cli.choice import Choice, SetParams
from vprlib.cli.finding.answers import as_object
from vprlib.cli.finding.around import and_nearest, in_circle
from vprlib.cli.finding.describers import Describe, describer
from vprlib.cli.finding.searching import (
    CodeParams,
    PlaceParams,
    check_length,
    depth_of,
    judged_by,
    nearest,
)
from vprlib.cli.serving.pinned import Pinned, Stamp, files_of, pin, stamp_of
from vprlib.cli.serving.recorded import Recorded
from vprlib.descriptors.codes import Code
from vprlib.descriptors.files import network_of
from vprlib.descriptors.quantisers import Coded
from vprlib.descriptors.rows import Rows
from vprlib.evaluate.confidence import Calibration, read_calibration
from vprlib.images.batches import ImageSource, images_a_batch
from vprlib.images.index import ImageIndex, check_order, read_index
from vprlib.pipeline import cache, paths
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
from vprlib.search.request import Neighbors, Searcher, no_neighbors

# described at once: more are slower outside the main thread, where memory is returned each time
PIXELS = 5 * 2**18
NOT_CALIBRATED = (
    "not calibrated: nothing is known of how sure an answer is. Name a set with queries as"
    " calibrate_on, and run `dvc repro`."
)
IN_MEMORY = 4  # a database up to this part of the memory is read whole
Circle = tuple[float, float, float]  # latitude, longitude, metres


@dataclass(frozen=True)
class Asked:
    """One photograph and what is wanted of it."""

    name: str
    pixels: np.ndarray  # uint8 [H, W, 3]
    count: int
    circle: Circle | None = None


class Map:
    """Nothing in it changes: a newer run makes another map, and a request keeps the one it got."""

    def __init__(self, choice: Choice, folder: Path, stamp: Stamp) -> None:
        """Reads all; refuses files that are not of one run. `stamp` is that of the files."""
        self.choice = choice
        self.since = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
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
        path = pinned.descriptors_path
        check_order(path, self.index)
        if network_of(path) != cache.digest(pinned.model_path):
            raise UserError(
                f"the descriptors of {self.choice.title} are of another network than the present"
                f" {self.choice.variant}: run `dvc repro`."
            )
        self.degrees = known_degrees(self.index, self.zone)
        self.source = ImageSource(self.index, p.image_dir, p.images)
        self.code: Code = pinned.read_code(whitens=False)
        self.failed = pinned.failed_rows()
        self.search: Searcher = searcher(pinned.search_index_path, self.settings)
        known = pinned.calibration_path
        self.calibration: Calibration | None = read_calibration(known) if known.exists() else None
        if self.calibration is not None and self.calibration.frames != 1:
            self.calibration = None
        self.rows = self._held(stack.enter_context(pinned.descriptors("db", len(self.index))))
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

    @property
    def told(self) -> JsonObject:
        """What answers say of the map that they come from."""
        return named(self.choice) | {
            "version": self.version,
            **of_images(self.index, self.degrees),
        }

    def most_pixels(self) -> int:
        """Of an image that the network gets; others would not fit into the memory."""
        return max(2**16, self.params.runtime.memory_bytes // 800)

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

    def locate(self, asked: Sequence[Asked]) -> list[JsonObject]:
        """An answer for each photograph, as `vpr find --json` gives it."""
        depth = depth_of(max(one.count for one in asked), verify=False)
        found = self._nearest(self._described(asked), asked, depth)
        seen = judged_by(self.calibration, found, self.index, NOT_CALIBRATED)
        objects = []
        for query, one in enumerate(asked):
            told = seen.answer(query, one.name, self.index, self.degrees, one.count)
            given = as_object(told)
            for result, (row, _) in zip(given["results"], found.of(query), strict=False):
                result["image"] = f"/v1/images/{self.choice.dataset}/{self.version}/{row}"
            objects.append(given | {"verdict": told.verdict or seen.unknown})
        return objects

    def _described(self, asked: Sequence[Asked]) -> np.ndarray:
        """Images of one size together, a few at a time."""
        by_size: dict[tuple[int, ...], list[int]] = {}
        for number, one in enumerate(asked):
            by_size.setdefault(one.pixels.shape, []).append(number)
        vectors = np.empty((len(asked), self.rows.shape[1]), np.float32)
        for (height, width, _), numbers in by_size.items():
            size = min(images_a_batch(width, height), max(2, PIXELS // (width * height)))
            for start in range(0, len(numbers), size):
                some = numbers[start : start + size]
                vectors[some] = self.describe(np.stack([asked[n].pixels for n in some]))
        return vectors

    def _nearest(self, vectors: np.ndarray, asked: Sequence[Asked], depth: int) -> Neighbors:
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
        return found


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


def named(choice: Choice) -> JsonObject:
    return dict(zip(("set", "variant", "code"), choice, strict=True))


def _clean(stack: ExitStack, folder: Path) -> None:
    stack.close()
    shutil.rmtree(folder, ignore_errors=True)
