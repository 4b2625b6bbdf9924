"""Weakly supervised training by triplets, going on where it was interrupted."""

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from vprlib.images.batches import (
    IMAGES_A_BATCH,
    ImageSource,
    groups_ahead,
    load_ahead,
    plan_batches,
)
from vprlib.model.backbones import trainable_children
from vprlib.model.fast.arithmetic import placed
from vprlib.model.model import PlaceModel
from vprlib.pipeline.arrays import scratch_array
from vprlib.pipeline.group import ALONE, Group
from vprlib.pipeline.params import UserError
from vprlib.pipeline.progress import progress
from vprlib.pipeline.resume import Scratch
from vprlib.pipeline.runtime import RuntimeSettings
from vprlib.train.cache import NO_STORE, Store
from vprlib.train.data import TrainingData, epoch_blocks
from vprlib.train.halves import Feed, Halves, Loaded
from vprlib.train.losses import triplet_loss
from vprlib.train.pairwise import forget
from vprlib.train.selection import Block, select
from vprlib.train.settings import TrainSettings
from vprlib.train.steps import Part, Step, as_steps, database_images, triplet_places
from vprlib.train.validation import Validation, validate


@dataclass(frozen=True)
class EpochLog:
    """One row of the log; epoch 0 is the start, which has learnt nothing."""

    epoch: int
    loss: float | None
    learning_rate: float | None
    violating: float | None  # share of the negatives mined that violate the margin
    recalls: dict[str, float]
    rank_loss: float | None = None

    @property
    def score(self) -> tuple[float, float]:
        return self.recalls["recall@5"], self.recalls["recall@1"]


@dataclass(frozen=True)
class Outcome:
    model: PlaceModel
    log: list[EpochLog]
    best: EpochLog


@dataclass
class State:
    """All that a run needs to go on from the start of a block of queries."""

    weights: dict[str, Tensor]
    best_weights: dict[str, Tensor]
    hardest: Tensor  # [Q, n] database rows remembered, -1 for none
    optimizer: dict[str, object] | None = None
    epoch: int = 0
    block: int = 0
    step: int = 0  # within the epoch
    loss_sum: float = 0.0
    triplets: int = 0
    looked_at: int = 0
    best_epoch: int = 0
    log: list[dict[str, object]] = field(default_factory=list)

    def rows(self) -> list[EpochLog]:
        return [EpochLog(**row) for row in self.log]


class Trainer:
    """Runs epochs over one data set; all that changes is in `state`."""

    def __init__(
        self,
        model: PlaceModel,
        data: TrainingData,
        settings: TrainSettings,
        device: torch.device,
        runtime: RuntimeSettings,
        scratch: Scratch,
        store: Store = NO_STORE,
        group: Group = ALONE,
    ) -> None:
        self.model = placed(model, device)
        self.data, self.settings = data, settings
        self.device, self.runtime, self.scratch = device, runtime, scratch
        self.group = group
        self.halves = Halves(self.model, settings.first_layer, settings.precision, settings.stored)
        self.queries = data.candidates.trainable()
        self.optimizer = make_optimizer(model, settings)
        self.feeds = _feeds(data, self.halves, store)
        self.state = self._restored() or self._fresh()

    def run(self, on_epoch: Callable[[EpochLog], None] = lambda row: None) -> Outcome:
        """Trains to the last epoch, or until nothing gets better, and gives the best model.

        `on_epoch` hears of each epoch, of those before an interruption too.
        """
        self.on_epoch = on_epoch
        for row in self.state.rows():
            on_epoch(row)
        if not self.state.log:
            self._finish_epoch(EpochLog(0, None, None, None, *self._validate()))
        while not self._is_done():
            self._run_epoch()
        log = self.state.rows()
        self.model.load_state_dict(self.state.best_weights)
        return Outcome(self.model, log, log[self.state.best_epoch])

    def _is_done(self) -> bool:
        waited = len(self.state.log) - 1 - self.state.best_epoch
        return self.state.epoch > self.settings.epochs or waited >= self.settings.patience

    def _run_epoch(self) -> None:
        state = self.state
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.rate_at(state.epoch)
        blocks = epoch_blocks(self.queries, state.epoch, self.settings)
        for block in blocks[state.block :]:
            self._run_block(block)
            state.block += 1
            if state.block < len(blocks):
                self._save()
        loss = state.loss_sum / max(1, state.triplets)
        violating = state.triplets / state.looked_at if state.looked_at else None
        rate = self.settings.rate_at(state.epoch)
        self._finish_epoch(EpochLog(state.epoch, loss, rate, violating, *self._validate()))

    def _finish_epoch(self, row: EpochLog) -> None:
        state = self.state
        rows = state.rows()
        state.log.append(asdict(row))
        is_kept = self.settings.keep == "last" or not rows
        if is_kept or row.score > rows[state.best_epoch].score:
            state.best_epoch, state.best_weights = row.epoch, self._weights()
        state.epoch, state.block, state.step = row.epoch + 1, 0, 0
        state.loss_sum, state.triplets, state.looked_at = 0.0, 0, 0
        self._save()
        self.on_epoch(row)

    def _run_block(self, block: np.ndarray) -> None:
        self.group.same(self.learnt)
        steps = self._mine(block)
        wanted = (self._images(part) for step in steps for part in self._own(step))
        label = f"epoch {self.state.epoch}: learning"
        with closing(load_ahead(wanted, self.runtime.workers, self._parts_ahead())) as images:
            for step in progress(steps, len(steps), label, "step"):
                self._learn(step, images)
        if not all(torch.isfinite(p).all() for p in self.model.parameters()):
            raise self._diverged("a weight became NaN or infinite")

    def _mine(self, queries: np.ndarray) -> list[Step]:
        """The steps of a block, by the descriptors of the weights as they are now."""
        state, settings = self.state, self.settings
        block = Block(queries, state.epoch, state.block)
        rules, augmentation = settings.rules(), settings.augmentation()
        memory, hardest = self.runtime.memory_bytes, state.hardest.numpy()
        share = self.group.share
        own = select(block, self.data, hardest, rules, self._describe, self.device, memory, share)
        mined = self.group.interleave(own)
        found = []
        for query, seen in zip(queries.tolist(), mined, strict=True):
            self._remember(query, seen.hardest)
            change = augmentation.of(query, state.epoch)
            found.append(replace(seen.tuple, change=change) if seen.tuple else None)
        return as_steps(found, settings.queries_a_step, settings.accumulate)

    def _remember(self, query: int, hardest: np.ndarray) -> None:
        self.state.hardest[query] = -1
        self.state.hardest[query, : len(hardest)] = torch.from_numpy(hardest)
        self.state.looked_at += max(0, len(hardest) - self.settings.skip_hardest)

    def _parts_ahead(self) -> int:
        settings = self.settings
        images = settings.queries_a_step * (2 + settings.negatives)
        factor = max(1.0, settings.jitter[1] if settings.jitter else 1.0) ** 2
        largest = max(self.feeds[name].largest() for name in ("database", "queries"))
        return groups_ahead(math.ceil(images * largest * factor), self.runtime)

    def _images(self, part: Part) -> list[Callable[[], Loaded]]:
        """Queries first, then each database image of the part once."""
        queries, database = self.feeds["queries"], self.feeds["database"]
        return [partial(queries.load, t.query, t.change) for t in part] + [
            partial(database.load, row, change) for row, change in database_images(part)
        ]

    def _learn(self, step: Step, images: Iterator[list[Loaded]]) -> None:
        """Moves the optimiser by the loss of all parts over their number of negatives."""
        self.state.step += 1
        negatives = sum(len(t.negatives) for part in step for t in part)
        self.optimizer.zero_grad(set_to_none=True)
        if self._shares_out_parts:
            self.state.loss_sum += self._learn_in_turns(step, images, negatives)
        else:
            losses = [self._add_gradient(part, next(images), negatives) for part in self._own(step)]
            total = torch.tensor([sum(losses)], dtype=torch.float64)
            self.group.add([total, *self._gradients()])
            self.state.loss_sum += float(total)
        self.state.triplets += negatives
        self.optimizer.step()

    def _learn_in_turns(self, step: Step, images: Iterator[list[Loaded]], negatives: int) -> float:
        """A part for each process, then the next ones; summed in the parts' order, as one would."""
        own, size, total = self._own(step), self.group.size, 0.0
        sums = [torch.zeros_like(p) for p in self.learnt]
        for turn in range(math.ceil(len(step) / size)):
            loss = 0.0
            if turn < len(own):
                loss = self._add_gradient(own[turn], next(images), negatives)
            given = [torch.tensor([loss], dtype=torch.float64), *self._gradients()]
            for value, *gradients in self.group.gather_tensors(given)[: len(step) - turn * size]:
                total += float(value)
                for added, gradient in zip(sums, gradients, strict=True):
                    added += gradient
            self.optimizer.zero_grad(set_to_none=True)
        for parameter, added in zip(self.learnt, sums, strict=True):
            parameter.grad = added
        return total

    @property
    def _shares_out_parts(self) -> bool:
        """Whole parts, where there are as many as processes: then their number changes no byte.

        Else each process has a share of each part's tuples.
        """
        return 1 < self.group.size <= self.settings.accumulate

    def _own(self, step: Step) -> list[Part]:
        """What this process learns from."""
        if self._shares_out_parts:
            return step[self.group.share]
        parts = (part[self.group.share] for part in step)
        return [part for part in parts if part]

    def _gradients(self) -> list[Tensor]:
        """Of all that learns; zeros where this process had no triplet."""
        if self.group.size == 1:
            return []
        for parameter in self.learnt:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        return [parameter.grad for parameter in self.learnt]

    def _add_gradient(self, part: Part, images: list[Loaded], negatives: int) -> float:
        """Gives the sum of the losses of the part's triplets."""
        settings = self.settings
        query, positive, negative = triplet_places(part)
        with self.halves.arithmetic:
            vectors = self.halves.describe(images)
            loss = triplet_loss(
                vectors[query],
                vectors[positive],
                vectors[negative],
                settings.margin,
                settings.distance,
            )
            value = loss.item()
            if not np.isfinite(value):
                raise self._diverged(f"the loss became {value}")
            (loss * (len(negative) / negatives)).backward()
        return value * len(negative)

    def _diverged(self, what: str) -> UserError:
        return UserError(
            f"{what} in epoch {self.state.epoch}, step {self.state.step}: the state before it is"
            f" kept in {self.scratch.folder}; lower train.learning_rate"
            f" (now {self.settings.learning_rate:g}) and run again."
        )

    def _validate(self) -> Validation:
        rank_loss, group = self.settings.rank_loss(), self.group
        return validate(
            self.data, rank_loss, self._describe, self.runtime, group.share, group.interleave
        )

    @torch.no_grad()
    def _describe(self, name: str, source: ImageSource, rows: np.ndarray | None) -> np.ndarray:
        """Descriptors by row, on disk below the scratch folder: a set need not fit into memory."""
        feed = self.feeds[name]
        path, shape = self.scratch.folder / f"{name}.f32", (len(source.index), self.model.dim)
        if self.group.is_first:
            scratch_array(path, shape)
        self.group.wait()
        target = np.memmap(path, np.float32, "r+", shape=shape)
        rows = np.arange(len(source.index)) if rows is None else rows
        batches = plan_batches(feed.sizes, rows)[self.group.share]
        wanted = ([partial(feed.load, int(row)) for row in batch] for batch in batches)
        ahead = groups_ahead(feed.largest() * IMAGES_A_BATCH, self.runtime)
        label = f"epoch {self.state.epoch}: describing {name}"
        with closing(load_ahead(wanted, self.runtime.workers, ahead)) as loaded:
            for batch in progress(batches, len(batches), label, "batch"):
                with self.halves.arithmetic:
                    target[batch] = self.halves.describe(next(loaded)).cpu().numpy()
        forget(target)
        if self.group.size == 1:
            return target
        target.flush()
        self.group.wait()
        return np.memmap(path, np.float32, "r+", shape=shape)  # what other machines wrote, too

    def _weights(self) -> dict[str, Tensor]:
        return {name: t.detach().cpu().clone() for name, t in self.model.state_dict().items()}

    def _fresh(self) -> State:
        kept = self.settings.skip_hardest + self.settings.negatives
        shape = (len(self.data.train.queries.index), kept)
        weights = self._weights()
        return State(weights, weights, torch.full(shape, -1, dtype=torch.int64))

    def _restored(self) -> State | None:
        kept = self.scratch.load()
        if kept is None:
            return None
        state = State(**kept)
        self.model.load_state_dict(state.weights)
        self.optimizer.load_state_dict(copy.deepcopy(state.optimizer))
        return state

    @property
    def learnt(self) -> list[Tensor]:
        return [p for p in self.model.parameters() if p.requires_grad]

    def _save(self) -> None:
        if not self.group.is_first:
            return
        self.state.weights = self._weights()
        self.state.optimizer = self.optimizer.state_dict()
        self.scratch.save(vars(self.state))


def _feeds(data: TrainingData, halves: Halves, store: Store) -> dict[str, Feed]:
    """By the names that mining and validation have for the sources; training's come first."""
    sources = {
        "database": data.train.database,
        "queries": data.train.queries,
        "val-database": data.val.database,
        "val-queries": data.val.queries,
    }
    return {name: Feed(source, halves, store) for name, source in sources.items()}


def make_optimizer(model: PlaceModel, settings: TrainSettings) -> torch.optim.Optimizer:
    """Over the layers that learn; all others are frozen."""
    learning = trainable_children(
        model.architecture.backbone, model.architecture.cut, settings.first_layer
    )
    for name, child in model.backbone.named_children():
        child.requires_grad_(name in learning)
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        raise UserError(
            f"params.yaml: train.first_layer is '{settings.first_layer}', but then nothing would"
            f" learn, since {model.architecture.pool.kind} pooling has no weights: name a layer of"
            " the backbone."
        )
    rate, decay = settings.learning_rate, settings.weight_decay
    if settings.optimizer == "adam":
        return torch.optim.Adam(parameters, lr=rate, weight_decay=decay)
    return torch.optim.SGD(parameters, lr=rate, momentum=settings.momentum, weight_decay=decay)
