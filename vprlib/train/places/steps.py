"""The steps of an epoch of training on places."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from vprlib.pipeline.group import Group
from vprlib.train.augmentation import change_of_image
from vprlib.train.frozen import SplitNetwork
from vprlib.train.mining import Describe
from vprlib.train.places.batches import draw_batches
from vprlib.train.places.cliques import Distances
from vprlib.train.places.gradients import Batch, BatchGradients, passes
from vprlib.train.places.maker import Places
from vprlib.train.places.similarity import PlaceLoss
from vprlib.train.settings import PlacesSettings

STEPS_A_BLOCK = 50  # so often the state is kept
ROWS = 64  # descriptors in memory at once


class PlaceSteps:
    """`memory` holds the images of each step of the epoch [S, B], drawn at its beginning."""

    def __init__(
        self,
        places: Places,
        settings: PlacesSettings,
        network: SplitNetwork,
        learnt: Sequence[Tensor],
        group: Group,
    ) -> None:
        self.places, self.settings, self.group = places, settings, group
        loss, source_of = PlaceLoss(places.shots, settings), places.shots.source_of
        self.gradients = BatchGradients(network, learnt, settings.seed, group, source_of, loss)
        self.memory = torch.zeros((0, 0), dtype=torch.int64)

    def begin(self, epoch: int, is_resumed: bool, describe: Describe) -> list[np.ndarray]:
        """The steps of each block, by number; an epoch that is resumed has its batches already."""
        if not is_resumed:
            distances = self._distances(describe) if self.settings.is_described else None
            rows = self.places.labels.draw(self.settings.seed, epoch, distances)
            is_alike = self.settings.batches == "alike"
            plan = draw_batches(rows, self.settings, epoch, distances if is_alike else None)
            self.memory = torch.from_numpy(self.group.gather(plan)[0])  # machines round differently
        steps = np.arange(len(self.memory))
        return [steps[start : start + STEPS_A_BLOCK] for start in steps[::STEPS_A_BLOCK]]

    def of_block(
        self, block: np.ndarray, epoch: int, number: int, describe: Describe
    ) -> tuple[list[Batch], int]:
        """The batches, and how many images they hold."""
        batches = [self._batch(rows[rows >= 0], epoch) for rows in self.memory.numpy()[block]]
        return batches, sum(len(batch.rows) for batch in batches)

    def rate(self, epoch: int, step: int, done: int) -> float:
        share = (step + 1) / max(1, len(self.memory))
        return self.settings.learning_rate * self.settings.schedule.factor_at(epoch, done, share)

    def _batch(self, rows: np.ndarray, epoch: int) -> Batch:
        changes = [change_of_image(self.settings, row, epoch) for row in rows.tolist()]
        return passes(rows, changes, self.settings.images_a_pass)

    def _distances(self, describe: Describe) -> Distances:
        """Distances of the descriptors as they are now, by rows of the shots."""
        shots = self.places.shots
        sources = {"database": describe("database", None)}
        if len(shots) > shots.database_size:
            sources["queries"] = describe("queries", None)

        def read(rows: np.ndarray) -> np.ndarray:
            places = map(shots.source_of, rows.tolist())
            return np.stack([sources[name][row] for name, row in places])

        def distances(row: int, others: np.ndarray) -> np.ndarray:
            own = read(np.array([row]))
            few = [others[start : start + ROWS] for start in range(0, len(others), ROWS)]
            return np.concatenate([np.linalg.norm(read(rows) - own, axis=1) for rows in few])

        return distances
