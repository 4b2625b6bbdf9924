"""The gradient of a batch of images, in passes of a few images each."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from vprlib.model.heads.dropout import dropping_out
from vprlib.pipeline.draws import Draw, generator
from vprlib.pipeline.group import Group
from vprlib.train.augmentation import Change
from vprlib.train.frozen import LoadedImage, SplitNetwork
from vprlib.train.gradients import Loss, Wanted, clear, sum_in_turns

MOST_PARTS = 2**16  # of a batch
Part = list[tuple[int, Change]]  # images that go through the network together


@dataclass(frozen=True)
class Batch:
    """The images of a step."""

    rows: np.ndarray  # [B] of all images that are learnt from
    parts: list[Part]  # the same images, cut into passes


def passes(rows: np.ndarray, changes: Sequence[Change], size: int) -> Batch:
    """The batch of these images, of which `size` go through the network at once."""
    images = list(zip(rows.tolist(), changes, strict=True))
    return Batch(rows, [images[start : start + size] for start in range(0, len(images), size)])


class BatchLoss(Protocol):
    def __call__(self, descriptors: Tensor, rows: np.ndarray) -> tuple[Tensor, int]:
        """Mean loss over the images of a batch, and how many of them it is due to."""


@dataclass(frozen=True)
class BatchGradients:
    """The loss compares all images of a batch, but its memory is that of one pass.

    All images are described first, without what a gradient needs. The loss and its gradient on the
    descriptors follow, and then each pass again, with this gradient (GradCache, Gao et al., 2021).
    Each process takes whole passes, and gradients are summed in the order of the passes: the result
    is byte for byte that of one process.
    """

    network: SplitNetwork
    parameters: Sequence[Tensor]
    seed: int
    group: Group
    source_of: Callable[[int], tuple[str, int]]  # by the names of TrainingData.sources, and its row
    loss: BatchLoss

    def own_parts(self, batch: Batch) -> list[Part]:
        """The passes of this process, in the order in which it needs their images."""
        own = batch.parts[self.group.share]
        return own if len(batch.parts) == 1 else [*own, *own]

    def images_of(self, part: Part) -> list[Wanted]:
        return [Wanted(*self.source_of(row), change) for row, change in part]

    def compute(
        self, batch: Batch, images: Iterator[list[LoadedImage]], epoch: int, number: int
    ) -> Loss:
        """Sets the gradients of the whole batch.

        `images` yields those of each of this process's passes. `number` is that of the batch within
        the epoch; dropout depends on it, and is the same in both passes of an image.
        """

        def describe(part: int) -> Tensor:
            place = number * MOST_PARTS + part
            draw = generator(Draw.DROPOUT, self.seed, epoch, place)
            with dropping_out(self.network.model.pool, draw):
                return self.network.describe(next(images))

        clear(self.parameters)
        if len(batch.parts) > 1:
            total, terms, add = self._described_first(batch, describe)
            sum_in_turns(self.group, self.parameters, len(batch.parts), add)
            return Loss(total, terms)
        terms = 0

        def learn(turn: int) -> float:
            nonlocal terms
            loss, terms = self.loss(describe(0), batch.rows)
            loss.backward()
            return loss.item()

        loss = sum_in_turns(self.group, self.parameters, 1, learn)
        return Loss(loss * len(batch.rows), self.group.gather(terms)[0])

    def _described_first(
        self, batch: Batch, describe: Callable[[int], Tensor]
    ) -> tuple[float, int, Callable[[int], float]]:
        """The loss, its terms, and what adds the gradient of each of this process's passes."""
        mine = range(len(batch.parts))[self.group.share]
        with torch.no_grad():
            own = [describe(part).cpu().numpy() for part in mine]
        parts = self.group.interleave(own)
        descriptors = torch.from_numpy(np.concatenate(parts)).to(self.network.device)
        loss, terms = self.loss(descriptors.requires_grad_(), batch.rows)
        loss.backward()
        assert descriptors.grad is not None
        wanted = descriptors.grad.split([len(part) for part in parts])[self.group.share]

        def add(turn: int) -> float:
            describe(mine[turn]).backward(wanted[turn])
            return 0.0

        return loss.item() * len(batch.rows), terms, add
