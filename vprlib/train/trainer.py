"""Weakly supervised training, which resumes where it was interrupted."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vprlib.model.backbones import trainable_children
from vprlib.model.model import PlaceModel
from vprlib.model.precision import placed
from vprlib.pipeline.cache import NO_CACHE, Cache
from vprlib.pipeline.group import ALONE, Group
from vprlib.pipeline.params import UserError
from vprlib.pipeline.progress import progress
from vprlib.pipeline.resume import Scratch
from vprlib.pipeline.runtime import RuntimeSettings
from vprlib.train.data import TrainingData
from vprlib.train.distil.descriptors import TeacherDescriptors
from vprlib.train.distil.steps import DistilSteps
from vprlib.train.distil.teacher import TaughtImages
from vprlib.train.frozen import CachedSource, LoadedImage, SplitNetwork
from vprlib.train.gradients import Gradients, Step
from vprlib.train.inputs import Inputs
from vprlib.train.log import EpochLines, EpochLog, Outcome
from vprlib.train.mining import Candidates
from vprlib.train.places.gradients import Batch
from vprlib.train.places.maker import Places
from vprlib.train.places.steps import PlaceSteps
from vprlib.train.settings import AnySettings, DistilSettings, PlacesSettings
from vprlib.train.triplets import TripletSteps
from vprlib.train.validation import Validation, validate

AnyStep = Step | Batch


@dataclass
class State:
    """All that a run needs to resume at the start of a block of steps."""

    weights: dict[str, Tensor]
    best_weights: dict[str, Tensor]
    memory: Tensor  # what one block of steps leaves to the next
    optimizer: dict[str, Any] = field(default_factory=dict)
    epoch: int = 0
    block: int = 0
    step: int = 0  # within the epoch
    steps_done: int = 0  # of the whole run
    loss_sum: float = 0.0
    terms: int = 0  # of that sum
    looked_at: int = 0  # terms, and those that were zero
    best_epoch: int = 0
    log: list[dict[str, Any]] = field(default_factory=list)

    def rows(self) -> list[EpochLog]:
        return [EpochLog(**row) for row in self.log]


class Trainer:
    """Runs epochs over one data set; everything that changes is in `state`."""

    def __init__(
        self,
        model: PlaceModel,
        data: TrainingData,
        settings: AnySettings,
        device: torch.device,
        runtime: RuntimeSettings,
        scratch: Scratch,
        cache: Cache = NO_CACHE,
        group: Group = ALONE,
    ) -> None:
        self.model = placed(model, device)
        self.data, self.settings = data, settings
        self.device, self.runtime = device, runtime
        self.scratch, self.group = scratch, group
        how = (settings.first_layer, settings.precision, settings.stored)
        network = SplitNetwork(self.model, *how)
        self.optimizer = make_optimizer(model, settings)
        learnt = [p for p in model.parameters() if p.requires_grad]
        how_taught = (network.device, network.precision, scratch.folder, runtime, cache, group)
        described = TeacherDescriptors(data.sources(), *how_taught)
        self.steps = steps_of(data, settings, network, learnt, described)
        self.gradients: Gradients[Any, Any] = self.steps.gradients
        sources = {n: CachedSource(s, network, cache) for n, s in data.sources().items()}
        self.inputs = Inputs(sources, network, scratch.folder, runtime, group)
        self.state = self._kept_or_fresh()

    def run(
        self,
        on_epoch: Callable[[EpochLog], None] = lambda row: None,
        say: Callable[[str], None] = lambda line: None,
    ) -> Outcome:
        """Trains to the last epoch, or until nothing improves, and returns the best model.

        `on_epoch` is called after each epoch, and first for those before an interruption. `say`
        is given a line about each epoch of this run if there is no terminal to show progress on.
        """
        self.on_epoch, self.lines = on_epoch, EpochLines(self.settings.epochs, say)
        for row in self.state.rows():
            on_epoch(row)
        if not self.state.log:
            self._finish_epoch(EpochLog(0, None, None, None, *self._validate()))
        while self.state.epoch <= self.settings.epochs:
            if len(self.state.log) - 1 - self.state.best_epoch >= self.settings.patience:
                break
            self._run_epoch()
        log = self.state.rows()
        self.model.load_state_dict(self.state.best_weights)
        return Outcome(self.model, log, log[self.state.best_epoch])

    def _run_epoch(self) -> None:
        state = self.state
        blocks = self.steps.begin(state.epoch, state.block > 0, self._describe)
        self._set_rate()
        for block in blocks[state.block :]:
            self._run_block(block)
            state.block += 1
            if state.block < len(blocks):
                self._save()
        loss = state.loss_sum / max(1, state.terms)
        violating = state.terms / state.looked_at if state.looked_at else None
        rate = self.optimizer.param_groups[0]["lr"]
        found = self._validate() if self._is_validated(state.epoch) else Validation({}, None)
        self._finish_epoch(EpochLog(state.epoch, loss, rate, violating, *found))

    def _set_rate(self) -> None:
        state = self.state
        for group in self.optimizer.param_groups:
            group["lr"] = self.steps.rate(state.epoch, state.step, state.steps_done)

    def _is_validated(self, epoch: int) -> bool:
        """Also where training may end: after the last epoch, and when patience runs out."""
        settings = self.settings
        waited = epoch - self.state.best_epoch
        is_due = epoch % settings.validate_every == 0
        return is_due or epoch == settings.epochs or waited >= settings.patience

    def _finish_epoch(self, row: EpochLog) -> None:
        state = self.state
        rows = state.rows()
        state.log.append(asdict(row))
        is_kept = self.settings.keep == "last" or not rows
        if is_kept or (row.recalls and row.score > rows[state.best_epoch].score):
            state.best_epoch, state.best_weights = row.epoch, self._weights()
        state.epoch, state.block, state.step = row.epoch + 1, 0, 0
        state.loss_sum, state.terms, state.looked_at = 0.0, 0, 0
        self._save()
        self.lines(row)
        self.on_epoch(row)

    def _run_block(self, block: np.ndarray) -> None:
        """Chooses the steps of a block with the weights as they are now, and learns from them."""
        self.group.same(self.gradients.parameters)
        steps, gradients = self._mine(block), self.gradients
        parts = [part for step in steps for part in gradients.own_parts(step)]
        label = f"epoch {self.state.epoch}: learning"
        with closing(self.inputs.load(map(gradients.images_of, parts), self.settings)) as images:
            for step in progress(steps, len(steps), label, "step"):
                self._learn(step, images)
        if not all(torch.isfinite(p).all() for p in self.model.parameters()):
            raise self._diverged("a weight became NaN or infinite")

    def _mine(self, block: np.ndarray) -> Sequence[AnyStep]:
        state = self.state
        steps, looked_at = self.steps.of_block(block, state.epoch, state.block, self._describe)
        state.looked_at += looked_at
        return steps

    def _learn(self, step: AnyStep, images: Iterator[list[LoadedImage]]) -> None:
        """One step of the optimiser."""
        self._set_rate()
        self.state.step += 1
        self.state.steps_done += 1
        loss = self.gradients.compute(step, images, self.state.epoch, self.state.step)
        if not np.isfinite(loss.total):
            raise self._diverged(f"the loss became {loss.total}")
        self.state.loss_sum += loss.total
        self.state.terms += loss.terms
        self.optimizer.step()

    def _diverged(self, what: str) -> UserError:
        return UserError(
            f"{what} in epoch {self.state.epoch}, step {self.state.step}: the state before it is"
            f" kept in {self.scratch.folder}; lower train.learning_rate"
            f" (now {self.settings.learning_rate:g}) and run again."
        )

    def _validate(self) -> Validation:
        given = (self.data.val_truth, self.settings, self._describe, self.runtime)
        return validate(*given, self.group.share, self.group.interleave)

    def _describe(self, name: str, rows: np.ndarray | None) -> np.ndarray:
        return self.inputs.describe(name, rows, f"epoch {self.state.epoch}: describing {name}")

    def _weights(self) -> dict[str, Tensor]:
        return {name: t.detach().cpu().clone() for name, t in self.model.state_dict().items()}

    def _kept_or_fresh(self) -> State:
        kept = self.scratch.load()
        if kept is None:
            weights = self._weights()
            return State(weights, weights, self.steps.memory)
        state = State(**kept)
        self.steps.memory = state.memory
        self.model.load_state_dict(state.weights)
        self.optimizer.load_state_dict(copy.deepcopy(state.optimizer))
        return state

    def _save(self) -> None:
        if not self.group.is_first:
            return
        self.state.weights = self._weights()
        self.state.memory = self.steps.memory
        self.state.optimizer = self.optimizer.state_dict()
        self.scratch.save(vars(self.state))


def steps_of(
    data: TrainingData,
    settings: AnySettings,
    network: SplitNetwork,
    learnt: Sequence[Tensor],
    described: TeacherDescriptors,
) -> TripletSteps | PlaceSteps | DistilSteps:
    found, group = data.candidates, described.group
    if isinstance(settings, DistilSettings):
        assert isinstance(found, TaughtImages)
        return DistilSteps(found, settings, network, learnt, group, described)
    if isinstance(settings, PlacesSettings):
        assert isinstance(found, Places)
        return PlaceSteps(found, settings, network, learnt, group)
    assert isinstance(found, Candidates)
    memory_bytes = described.runtime.memory_bytes
    return TripletSteps(found, settings, network, learnt, group, memory_bytes)


def make_optimizer(model: PlaceModel, settings: AnySettings) -> torch.optim.Optimizer:
    """Over the layers that learn; all others are frozen."""
    a = model.architecture
    learning = trainable_children(a.backbone, a.cut, settings.first_layer)
    for name, child in model.backbone.named_children():
        child.requires_grad_(name in learning)
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        raise UserError(
            f"params.yaml: train.first_layer is '{settings.first_layer}', but then nothing would"
            f" learn: {a.pool.kind} pooling has no weights: name a layer of"
            " the backbone."
        )
    rate, decay = settings.learning_rate, settings.weight_decay
    if settings.optimizer != "sgd":
        kind = torch.optim.Adam if settings.optimizer == "adam" else torch.optim.AdamW
        return kind(parameters, lr=rate, weight_decay=decay)
    return torch.optim.SGD(parameters, lr=rate, momentum=settings.momentum, weight_decay=decay)
