"""The steps of an epoch of training on places."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from vprlib.pipeline.group import Group
from vprlib.train.frozen import SplitNetwork
from vprlib.train.mining import Describe
from vprlib.train.places.batches import draw_batches
from vprlib.train.places.cliques import Distances
from vprlib.train.places.gradients import Batch, BatchGradients
from vprlib.train.places.maker import Places
from vprlib.train.places.planned import PlannedSteps, descriptors_of, few_at_a_time
from vprlib.train.places.similarity import PlaceLoss
from vprlib.train.settings import PlacesSettings


class PlaceSteps(PlannedSteps[PlacesSettings]):
    """Each batch holds some places, and a few images of each."""

    def __init__(
        self,
        places: Places,
        settings: PlacesSettings,
        network: SplitNetwork,
        learnt: Sequence[Tensor],
        group: Group,
    ) -> None:
        super().__init__(settings, group)
        self.places = places
        loss, source_of = PlaceLoss(places.shots, settings), places.shots.source_of
        self.gradients = BatchGradients(network, learnt, settings.seed, group, source_of, loss)

    def begin(self, epoch: int, is_resumed: bool, describe: Describe) -> list[np.ndarray]:
        """The steps of each block, by number; an epoch that is resumed has its batches already."""
        if not is_resumed:
            distances = self._distances(describe) if self.settings.is_described else None
            rows = self.places.labels.draw(self.settings.seed, epoch, distances)
            is_alike = self.settings.batches == "alike"
            plan = draw_batches(rows, self.settings, epoch, distances if is_alike else None)
            self._keep(plan)
        return self._blocks()

    def of_block(
        self, block: np.ndarray, epoch: int, number: int, describe: Describe
    ) -> tuple[list[Batch], int]:
        """The batches, and how many images they hold."""
        batches = self._batches(block, epoch)
        return batches, sum(len(batch.rows) for batch in batches)

    def _distances(self, describe: Describe) -> Distances:
        """Distances of the descriptors as they are now, by rows of the shots."""
        shots = self.places.shots
        sources = {"database": describe("database", None)}
        if len(shots) > shots.database_size:
            sources["queries"] = describe("queries", None)

        def read(rows: np.ndarray) -> np.ndarray:
            return descriptors_of(sources, map(shots.source_of, rows.tolist()))

        def distances(row: int, others: np.ndarray) -> np.ndarray:
            own = read(np.array([row]))
            return few_at_a_time(lambda rows: np.linalg.norm(read(rows) - own, axis=1), others)

        return distances
