"""The gradient of a training step, computed by one process or shared among several."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from vprlib.model.heads.dropout import dropping_out
from vprlib.pipeline.draws import Draw, generator
from vprlib.pipeline.group import Group
from vprlib.train.augmentation import Change
from vprlib.train.frozen import LoadedImage, SplitNetwork
from vprlib.train.losses import triplet_loss
from vprlib.train.mining import Tuple
from vprlib.train.settings import TrainSettings

Part = list[Tuple]  # tuples whose images go through the network together
Step = list[Part]  # the optimiser moves once by the sum of its parts' gradients
# steps and parts of either kind of training
StepT_contra = TypeVar("StepT_contra", contravariant=True)
PartT = TypeVar("PartT")


def as_steps(found: Sequence[Tuple | None], queries: int, parts: int) -> list[Step]:
    """Cuts the queries of a block into steps of `parts` times `queries`; the last may be shorter.

    Queries without a tuple drop out, and so does a step in which no query has one.
    """
    size = queries * parts
    chunks = (found[start : start + size] for start in range(0, len(found), size))
    kept = ([t for t in chunk if t is not None] for chunk in chunks)
    return [[ts[i : i + queries] for i in range(0, len(ts), queries)] for ts in kept if ts]


def database_images(part: Part) -> list[tuple[int, Change]]:
    """Row and change of each database image that the part needs, once, in rising order."""
    return sorted({(row, t.change) for t in part for row in (t.positive, *t.negatives.tolist())})


def triplet_places(part: Part) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places of query, positive and negative of each triplet: queries stand before database."""
    places = {image: len(part) + n for n, image in enumerate(database_images(part))}
    triplets = [
        (query, places[t.positive, t.change], places[row, t.change])
        for query, t in enumerate(part)
        for row in t.negatives.tolist()
    ]
    query, positive, negative = np.array(triplets).T
    return query, positive, negative


class Wanted(NamedTuple):
    """An image that a part needs, changed."""

    source: str  # by the names of TrainingData.sources
    row: int
    change: Change


class Loss(NamedTuple):
    """Of a step: the sum of its terms that are not zero, and their number."""

    total: float
    terms: int


class Gradients(Protocol[StepT_contra, PartT]):
    """Computes the gradient of a step of either kind of training."""

    @property
    def parameters(self) -> Sequence[Tensor]: ...

    def own_parts(self, step: StepT_contra) -> list[PartT]:
        """What this process passes through the network, in order."""

    def images_of(self, part: PartT) -> list[Wanted]: ...

    def compute(
        self, step: StepT_contra, images: Iterator[list[LoadedImage]], epoch: int, number: int
    ) -> Loss: ...


def count_negatives(step: Step) -> int:
    return sum(len(t.negatives) for part in step for t in part)


@dataclass(frozen=True)
class StepGradients:
    """Adds up the gradient of a step's loss: that of all parts, over their number of negatives.

    If there are at least as many parts as processes, each process takes whole parts, and the
    gradients are summed in the order of the parts: the result is byte for byte that of one process.
    Otherwise each process takes a share of the tuples of each part.
    """

    network: SplitNetwork
    parameters: Sequence[Tensor]
    settings: TrainSettings
    group: Group

    @property
    def takes_whole_parts(self) -> bool:
        return 1 < self.group.size <= self.settings.accumulate

    def own_parts(self, step: Step) -> list[Part]:
        """The parts of a step that this process computes."""
        if self.takes_whole_parts:
            return step[self.group.share]
        parts = (part[self.group.share] for part in step)
        return [part for part in parts if part]

    def images_of(self, part: Part) -> list[Wanted]:
        """The queries first, then each database image of the part once."""
        queries = [Wanted("queries", t.query, t.change) for t in part]
        return queries + [Wanted("database", *image) for image in database_images(part)]

    def compute(
        self, step: Step, images: Iterator[list[LoadedImage]], epoch: int, number: int
    ) -> Loss:
        """Sets the gradients of the whole step; the terms of its loss are its triplets.

        `images` yields those of each of this process's parts. `number` is that of the step within
        the epoch; dropout depends on it.
        """
        clear(self.parameters)
        negatives, own = count_negatives(step), self.own_parts(step)
        first, seed = number * self.settings.accumulate, self.settings.seed
        draws = [generator(Draw.DROPOUT, seed, epoch, first + n) for n in range(len(step))]
        if self.takes_whole_parts:
            mine = draws[self.group.share]

            def add(turn: int) -> float:
                return self._add_part(own[turn], next(images), negatives, mine[turn])

            return Loss(sum_in_turns(self.group, self.parameters, len(step), add), negatives)
        losses = [
            self._add_part(part, next(images), negatives, draw)
            for part, draw in zip(own, draws, strict=False)
        ]
        total = torch.tensor([sum(losses)], dtype=torch.float64)
        self.group.add([total, *gradients_to_share(self.group, self.parameters)])
        return Loss(float(total), negatives)

    def _add_part(
        self,
        part: Part,
        images: list[LoadedImage],
        negatives: int,
        draw: np.random.Generator,
    ) -> float:
        """Adds the gradient of one part; returns the sum of the losses of its triplets."""
        query, positive, negative = triplet_places(part)
        with dropping_out(self.network.model.pool, draw):
            v, s = self.network.describe(images), self.settings
        loss = triplet_loss(v[query], v[positive], v[negative], s.margin, s.distance)
        (loss * (len(negative) / negatives)).backward()
        return loss.item() * len(negative)


def sum_in_turns(
    group: Group, parameters: Sequence[Tensor], parts: int, add: Callable[[int], float]
) -> float:
    """Sums losses and gradients in the order of the parts, whichever process computes which.

    Each process takes one part a turn: `add(turn)` adds the gradient of this process's next part to
    the parameters, and returns its loss.
    """
    size, total = group.size, 0.0
    sums = [torch.zeros_like(p) for p in parameters]
    for turn in range(math.ceil(parts / size)):
        loss = add(turn) if turn * size + group.rank < parts else 0.0
        given = [torch.tensor([loss], dtype=torch.float64), *gradients_of(parameters)]
        for value, *gradients in group.gather_tensors(given)[: parts - turn * size]:
            total += float(value)
            for added, gradient in zip(sums, gradients, strict=True):
                added += gradient
        clear(parameters)
    for parameter, added in zip(parameters, sums, strict=True):
        parameter.grad = added
    return total


def gradients_to_share(group: Group, parameters: Sequence[Tensor]) -> list[Tensor]:
    """None if there is one process."""
    return [] if group.size == 1 else gradients_of(parameters)


def gradients_of(parameters: Sequence[Tensor]) -> list[Tensor]:
    """Zeros where there is none."""
    return [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]


def clear(parameters: Sequence[Tensor]) -> None:
    for parameter in parameters:
        parameter.grad = None
