"""Builds a smaller or faster network from another, step by step."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vprlib.compress import pruning
from vprlib.compress.int8 import check_quantisable, quantised
from vprlib.compress.settings import (
    Finetune,
    Prune,
    Quantise,
    Round,
    Sparsify,
    Step,
)
from vprlib.images.batches import ImageSource, plan_batches, stream
from vprlib.model.backbones import trainable_children
from vprlib.model.model import PlaceModel, write_model, write_onnx
from vprlib.model.onnx.network import OnnxNetwork
from vprlib.model.packing import PLAIN, Form
from vprlib.model.precision import placed
from vprlib.model.settings import ComputePrecision
from vprlib.pipeline.cache import Cache
from vprlib.pipeline.draws import choose_rows
from vprlib.pipeline.group import Group
from vprlib.pipeline.resume import Scratch
from vprlib.pipeline.runtime import RuntimeSettings
from vprlib.train.data import TrainingData
from vprlib.train.log import Outcome
from vprlib.train.settings import AnySettings
from vprlib.train.trainer import Trainer


@dataclass(frozen=True)
class FineTuner:
    """Trains networks on the training set of the experiment, with its settings."""

    read: Callable[[], TrainingData]  # called when the first network is trained
    settings: AnySettings  # of the experiment
    device: torch.device
    runtime: RuntimeSettings
    scratch: Scratch  # each training has a folder in it
    cache: Cache
    group: Group
    say: Callable[[str], None] = lambda line: None  # see Trainer.run

    @cached_property
    def data(self) -> TrainingData:
        return self.read()

    def run(self, model: PlaceModel, wanted: Finetune, number: int) -> Outcome:
        """Returns the best epoch; the network before training counts as one.

        A training that was interrupted resumes, and a finished one returns at once.
        """
        lowest, _ = next(model.backbone.named_children())
        changes = wanted.model_dump() | {"first_layer": wanted.first_layer or lowest}
        settings = self.settings.model_copy(update=changes)
        scratch = Scratch(self.scratch.folder / f"finetune-{number}")
        trainer = Trainer(
            model, self.data, settings, self.device, self.runtime, scratch, self.cache, self.group
        )
        return trainer.run(say=self.say)


StepLog = dict[str, object]
Network = PlaceModel | OnnxNetwork
Made = tuple[Network, Form, StepLog]


@dataclass(frozen=True)
class Variant:
    """A network, the form of its file, and a record of each step that made it."""

    model: Network
    form: Form = PLAIN
    steps: list[StepLog] = field(default_factory=list)

    @property
    def plain(self) -> PlaceModel:
        """What a step can change: int8 comes last."""
        assert isinstance(self.model, PlaceModel)
        return self.model

    def write(self, path: Path, variant: str) -> None:
        history = {"variant": variant, "steps": self.steps}
        if isinstance(self.model, OnnxNetwork):
            write_onnx(path, self.model, history)
        else:
            write_model(path, self.model, history, self.form)


@dataclass(frozen=True)
class VariantBuilder:
    """Carries out the steps of a variant."""

    database: ImageSource
    tuner: FineTuner

    def build(self, base: PlaceModel, before: Sequence[StepLog], steps: Sequence[Step]) -> Variant:
        """`before` are the steps that made the base. All steps are checked before any runs."""
        check_steps(base, steps)
        is_sparse = any(log["step"] == "sparsify" for log in before)
        made = Variant(base, replace(PLAIN, leaves_out_zeros=is_sparse), list(before))
        for number, step in enumerate(steps):
            model, form, told = getattr(self, f"_{step.name}")(made, step.what, number)
            sizes = size_of(model) if isinstance(model, PlaceModel) else {}
            done = {"step": step.name, **step.what.model_dump(), **told, **sizes}
            made = Variant(model, form, [*made.steps, done])
        return made

    def _prune(self, made: Variant, wanted: Prune, number: int) -> Made:
        if wanted.images is None or wanted.seed is None:  # by magnitude
            scores = pruning.by_magnitude(made.plain)
        else:
            images, device = self._images(wanted.images, wanted.seed), self.tuner.device
            batches = (batch.to(device) for batch in images)
            scores = pruning.by_change(placed(made.plain, device), batches, wanted.seed)
        return pruning.without_channels(made.plain.cpu(), wanted.fraction, scores), made.form, {}

    def _sparsify(self, made: Variant, wanted: Sparsify, number: int) -> Made:
        form = replace(made.form, leaves_out_zeros=True)
        return pruning.sparsify(made.plain, wanted.fraction), form, {}

    def _finetune(self, made: Variant, wanted: Finetune, number: int) -> Made:
        model, told = self._trained(made.plain, made.form, wanted, number)
        return model.cpu(), made.form, told

    def _quantise(self, made: Variant, wanted: Quantise, number: int) -> Made:
        def images() -> Iterator[np.ndarray]:
            return (batch.numpy() for batch in self._images(wanted.images, wanted.seed))

        network = quantised(made.plain, images, self.tuner.runtime.cores)
        return network, made.form, {**size_of(made.plain)}

    def _round(self, made: Variant, wanted: Round, number: int) -> Made:
        precision: ComputePrecision = "bfloat16" if wanted.to == "bfloat16" else "float32"
        model = PlaceModel(replace(made.plain.architecture, precision=precision))
        model.load_state_dict(made.plain.state_dict())
        return model, replace(made.form, numbers=wanted.to), {}

    def _trained(
        self, model: PlaceModel, form: Form, wanted: Finetune, number: int
    ) -> tuple[PlaceModel, StepLog]:
        if form.leaves_out_zeros:
            pruning.hold_zeros(model)
        outcome = self.tuner.run(model, wanted, number)
        log = [{"epoch": row.epoch, **row.recalls} for row in outcome.log]
        return outcome.model, {"best_epoch": outcome.best.epoch, "log": log}

    def _images(self, count: int, seed: int) -> Iterator[Tensor]:
        """Batches of random images of the training database, uint8 [B, H, W, 3]."""
        rows = choose_rows(len(self.database.index), count, seed)
        batches = plan_batches(self.database.sizes(), rows)
        loaded = stream(self.database, batches, self.tuner.runtime)
        return (torch.from_numpy(batch.pixels) for batch in loaded)


def check_steps(base: PlaceModel, steps: Sequence[Step]) -> None:
    """Raises an error if one of the steps is impossible for this network."""
    a = base.architecture
    for step in steps:
        if step.name == "prune":
            pruning.check_prunable(base)
        elif step.name == "quantise":
            check_quantisable(base)
        elif step.finetune is not None and step.finetune.first_layer is not None:
            trainable_children(a.backbone, a.cut, step.finetune.first_layer)


def size_of(model: PlaceModel) -> dict[str, int]:
    """The number of weights, and how many of them are zero."""
    tensors = model.state_dict().values()
    weights = sum(t.numel() for t in tensors)
    return {"weights": weights, "zeros": weights - sum(int(t.count_nonzero()) for t in tensors)}
