"""What answers photographs: a network in memory, and something that it searches."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from vprlib.cli.choice import Choice, SetParams
from vprlib.cli.finding.answers import as_object
from vprlib.cli.finding.describers import Describe
from vprlib.cli.finding.searching import depth_of, judged_by
from vprlib.cli.maps.opened import FoundInMap
from vprlib.evaluate.confidence import Calibration, read_calibration
from vprlib.images.batches import images_a_batch
from vprlib.pipeline.params import JsonObject

# described at once: more are slower outside the main thread, where memory is returned each time
PIXELS = 5 * 2**18
NOT_CALIBRATED = (
    "not calibrated: nothing is known of how sure an answer is. Name a set with queries as"
    " calibrate_on, and run `dvc repro`."
)
Circle = tuple[float, float, float]  # latitude, longitude, metres


@dataclass(frozen=True)
class Asked:
    """One photograph and what is wanted of it."""

    name: str
    pixels: np.ndarray  # uint8 [H, W, 3]
    count: int
    circle: Circle | None = None


class Answering(ABC):
    """Nothing in it changes: a newer run makes another one, and a request keeps the one it got."""

    version: str
    params: SetParams
    describe: Describe
    dim: int  # of descriptors
    images: int
    is_geographic: bool

    def __init__(self, choice: Choice) -> None:
        self.choice = choice
        self.since = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self.calibration: Calibration | None = None

    @property
    def told(self) -> JsonObject:
        """What answers say of the map that they come from."""
        return named(self.choice) | {
            "version": self.version,
            "images": self.images,
            "geographic": self.is_geographic,
        }

    def most_pixels(self) -> int:
        """Of an image that the network gets; others would not fit into the memory."""
        return max(2**16, self.params.runtime.memory_bytes // 800)

    @abstractmethod
    def check_circle(self, circle: Circle) -> None:
        """Refuses a circle that cannot be searched."""

    @abstractmethod
    def _found(self, vectors: np.ndarray, asked: Sequence[Asked], depth: int) -> FoundInMap:
        """The nearest of each photograph, in its circle."""

    @abstractmethod
    def _image(self, row: int) -> str | None:
        """The address of a small picture."""

    def locate(self, asked: Sequence[Asked]) -> list[JsonObject]:
        """An answer for each photograph, as `vpr find --json` gives it."""
        depth = depth_of(max(one.count for one in asked), verify=False)
        found = self._found(self._described(asked), asked, depth)
        seen = judged_by(self.calibration, found.neighbors, found.index, NOT_CALIBRATED)
        objects = []
        for query, one in enumerate(asked):
            told = seen.answer(query, one.name, found.index, found.degrees, one.count)
            given = as_object(told)
            near = found.neighbors.of(query)
            for result, (row, _) in zip(given["results"], near, strict=False):
                result["image"] = self._image(row)
            objects.append(given | {"verdict": told.verdict or seen.unknown})
        return objects

    def _described(self, asked: Sequence[Asked]) -> np.ndarray:
        """Images of one size together, a few at a time."""
        by_size: dict[tuple[int, ...], list[int]] = {}
        for number, one in enumerate(asked):
            by_size.setdefault(one.pixels.shape, []).append(number)
        vectors = np.empty((len(asked), self.dim), np.float32)
        for (height, width, _), numbers in by_size.items():
            size = min(images_a_batch(width, height), max(2, PIXELS // (width * height)))
            for start in range(0, len(numbers), size):
                some = numbers[start : start + size]
                vectors[some] = self.describe(np.stack([asked[n].pixels for n in some]))
        return vectors


def calibration_of(choice: Choice) -> Calibration | None:
    """What is known of single photographs."""
    path = choice.calibration_path
    known = read_calibration(path) if path.exists() else None
    return known if known is not None and known.frames == 1 else None


def named(choice: Choice) -> JsonObject:
    return dict(zip(("set", "variant", "code"), choice, strict=True))
