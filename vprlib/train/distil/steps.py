"""The steps of an epoch of a student."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from vprlib.pipeline.arrays import forget
from vprlib.pipeline.group import Group
from vprlib.pipeline.params import UserError
from vprlib.train.augmentation import change_of_image
from vprlib.train.distil.batches import draw_batches
from vprlib.train.distil.descriptors import TeacherDescriptors
from vprlib.train.distil.losses import student_loss
from vprlib.train.distil.teacher import TaughtImages, Teacher
from vprlib.train.frozen import SplitNetwork
from vprlib.train.mining import Describe
from vprlib.train.places.gradients import Batch, BatchGradients, passes
from vprlib.train.settings import DistilSettings

STEPS_A_BLOCK = 50  # so often the state is kept
ROWS = 64  # descriptors in memory at once


class DistilSteps:
    """`memory` holds the images of each step of the epoch [S, B], drawn at its beginning."""

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
        self.images, self.settings, self.described = images, settings, described
        how = (settings.seed, group, images.source_of, self._loss)
        self.gradients = BatchGradients(network, learnt, *how)
        self.memory = torch.zeros((0, 0), dtype=torch.int64)
        self.targets: dict[str, np.ndarray] = {}  # the teacher's descriptors by source and row

    def begin(self, epoch: int, is_resumed: bool, describe: Describe) -> list[np.ndarray]:
        """The steps of each block, by number; an epoch that is resumed has its batches already."""
        if not self.targets:
            wanted = self.images.by_source().items()
            self.targets = {n: self.described.of(self.images.teacher, n, r) for n, r in wanted}
        if not is_resumed:
            similarities = self._similarities if self.settings.batches == "alike" else None
            plan = draw_batches(self.images.rows, self.settings, epoch, similarities)
            plan = self.described.group.gather(plan)[0]  # machines round differently
            self.memory = torch.from_numpy(plan)
            self._forget()
        steps = np.arange(len(self.memory))
        return [steps[start : start + STEPS_A_BLOCK] for start in steps[::STEPS_A_BLOCK]]

    def of_block(
        self, block: np.ndarray, epoch: int, number: int, describe: Describe
    ) -> tuple[list[Batch], int]:
        """The batches; no image is looked at in vain, so that none is counted."""
        return [self._batch(rows[rows >= 0], epoch) for rows in self.memory.numpy()[block]], 0

    def rate(self, epoch: int, step: int, done: int) -> float:
        share = (step + 1) / max(1, len(self.memory))
        return self.settings.learning_rate * self.settings.schedule.factor_at(epoch, done, share)

    def _batch(self, rows: np.ndarray, epoch: int) -> Batch:
        changes = [change_of_image(self.settings, row, epoch) for row in rows.tolist()]
        return passes(rows, changes, self.settings.images_a_pass)

    def _loss(self, descriptors: Tensor, rows: np.ndarray) -> tuple[Tensor, int]:
        teacher = torch.from_numpy(self._targets_of(rows)).to(descriptors.device)
        self._forget()
        return student_loss(descriptors, teacher, self.settings.loss), len(rows)

    def _similarities(self, row: int, others: np.ndarray) -> np.ndarray:
        own = self._targets_of(np.array([row]))[0]
        few = [others[start : start + ROWS] for start in range(0, len(others), ROWS)]
        return np.concatenate([self._targets_of(rows) @ own for rows in few])

    def _targets_of(self, rows: np.ndarray) -> np.ndarray:
        """The teacher's descriptors [B, D]."""
        places = map(self.images.source_of, rows.tolist())
        return np.stack([self.targets[name][row] for name, row in places])

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
