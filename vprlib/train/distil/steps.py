"""The steps of an epoch of a student."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from vprlib.pipeline.arrays import forget
from vprlib.pipeline.group import Group
from vprlib.pipeline.params import UserError
from vprlib.train.distil.batches import draw_batches
from vprlib.train.distil.descriptors import TeacherDescriptors
from vprlib.train.distil.losses import student_loss
from vprlib.train.distil.teacher import TaughtImages, Teacher
from vprlib.train.frozen import SplitNetwork
from vprlib.train.mining import Describe
from vprlib.train.places.gradients import Batch, BatchGradients
from vprlib.train.places.planned import PlannedSteps, descriptors_of, few_at_a_time
from vprlib.train.settings import DistilSettings


class DistilSteps(PlannedSteps[DistilSettings]):
    """Each batch holds images that the student compares as its teacher does."""

    def __init__(
        self,
        images: TaughtImages,
        settings: DistilSettings,
        network: SplitNetwork,
        learnt: Sequence[Tensor],
        group: Group,
        described: TeacherDescriptors,
    ) -> None:
        check_dimensions(settings, images.teacher, network.model.dim)
        super().__init__(settings, group)
        self.images, self.described = images, described
        how = (settings.seed, group, images.source_of, self._loss)
        self.gradients = BatchGradients(network, learnt, *how)
        self.targets: dict[str, np.ndarray] = {}  # the teacher's descriptors by source and row

    def begin(self, epoch: int, is_resumed: bool, describe: Describe) -> list[np.ndarray]:
        """The steps of each block, by number; an epoch that is resumed has its batches already."""
        if not self.targets:
            wanted = self.images.by_source().items()
            self.targets = {n: self.described.of(self.images.teacher, n, r) for n, r in wanted}
        if not is_resumed:
            similarities = self._similarities if self.settings.batches == "alike" else None
            self._keep(draw_batches(self.images.rows, self.settings, epoch, similarities))
            self._forget()
        return self._blocks()

    def of_block(
        self, block: np.ndarray, epoch: int, number: int, describe: Describe
    ) -> tuple[list[Batch], int]:
        """The batches; no image is looked at in vain, so that none is counted."""
        return self._batches(block, epoch), 0

    def _loss(self, descriptors: Tensor, rows: np.ndarray) -> tuple[Tensor, int]:
        teacher = torch.from_numpy(self._targets_of(rows)).to(descriptors.device)
        self._forget()
        return student_loss(descriptors, teacher, self.settings.loss), len(rows)

    def _similarities(self, row: int, others: np.ndarray) -> np.ndarray:
        own = self._targets_of(np.array([row]))[0]
        return few_at_a_time(lambda rows: self._targets_of(rows) @ own, others)

    def _targets_of(self, rows: np.ndarray) -> np.ndarray:
        """The teacher's descriptors [B, D]."""
        return descriptors_of(self.targets, map(self.images.source_of, rows.tolist()))

    def _forget(self) -> None:
        """Lets go of the memory of descriptors that were read."""
        for target in self.targets.values():
            forget(target)


def check_dimensions(settings: DistilSettings, teacher: Teacher, dim: int) -> None:
    """Only descriptors of one length can be compared number by number."""
    if settings.loss.descriptors and teacher.network.dim != dim:
        raise UserError(
            f"train.loss.descriptors is {settings.loss.descriptors:g}, but the student has {dim}"
            f" dimensions and {teacher.name} has {teacher.network.dim}: set it to 0: then the"
            " student learns similarities alone."
        )
