"""Epochs whose batches are drawn at their beginning: what places and a teacher's images share."""

from collections.abc import Callable, Iterable, Mapping
from typing import Generic, TypeVar

import numpy as np
import torch

from vprlib.pipeline.group import Group
from vprlib.train.augmentation import change_of_image
from vprlib.train.places.gradients import Batch, passes
from vprlib.train.settings import DistilSettings, PlacesSettings

STEPS_A_BLOCK = 50  # so often the state is kept
ROWS = 64  # descriptors in memory at once
Settings = TypeVar("Settings", PlacesSettings, DistilSettings)


class PlannedSteps(Generic[Settings]):
    """`memory` holds the images of each step of the epoch [S, B], drawn at its beginning."""

    def __init__(self, settings: Settings, group: Group) -> None:
        self.settings: Settings = settings
        self.group = group
        self.memory = torch.zeros((0, 0), dtype=torch.int64)

    def rate(self, epoch: int, step: int, done: int) -> float:
        share = (step + 1) / max(1, len(self.memory))
        return self.settings.learning_rate * self.settings.schedule.factor_at(epoch, done, share)

    def _keep(self, plan: np.ndarray) -> None:
        """The plan of the first process: machines round differently."""
        self.memory = torch.from_numpy(self.group.gather(plan)[0])

    def _blocks(self) -> list[np.ndarray]:
        """The steps of each block, by number."""
        steps = np.arange(len(self.memory))
        return [steps[start : start + STEPS_A_BLOCK] for start in steps[::STEPS_A_BLOCK]]

    def _batches(self, block: np.ndarray, epoch: int) -> list[Batch]:
        return [self._batch(rows[rows >= 0], epoch) for rows in self.memory.numpy()[block]]

    def _batch(self, rows: np.ndarray, epoch: int) -> Batch:
        changes = [change_of_image(self.settings, row, epoch) for row in rows.tolist()]
        return passes(rows, changes, self.settings.images_a_pass)


def descriptors_of(
    sources: Mapping[str, np.ndarray], places: Iterable[tuple[str, int]]
) -> np.ndarray:
    """Of images by source and row [n, D]."""
    return np.stack([sources[name][row] for name, row in places])


def few_at_a_time(measure: Callable[[np.ndarray], np.ndarray], rows: np.ndarray) -> np.ndarray:
    """What `measure` gives for all rows, of which it holds a few descriptors at once."""
    starts = range(0, len(rows), ROWS)
    return np.concatenate([measure(rows[start : start + ROWS]) for start in starts])
