"""Makes a smaller or faster network of another, step by step."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from vprlib.compress.pruning import (
    Scores,
    by_change,
    by_magnitude,
    check_prunable,
    hold_zeros,
    sparsify,
    without_channels,
)
from vprlib.compress.quantising import learner, quantised, rehearse
from vprlib.compress.settings import Finetune, Lesson, Prune, Quantise, Round, Sparsify, Step
from vprlib.compress.tracing import trace
from vprlib.images.batches import ImageSource, plan_batches, stream
from vprlib.model.backbones import trainable_children
from vprlib.model.model import PlaceModel
from vprlib.model.packing import PLAIN, Form
from vprlib.model.precision import placed
from vprlib.pipeline.draws import choose_rows
from vprlib.pipeline.group import Group
from vprlib.pipeline.params import UserError
from vprlib.pipeline.resume import Scratch
from vprlib.pipeline.runtime import RuntimeSettings
from vprlib.train.cache import Store
from vprlib.train.data import TrainingData
from vprlib.train.settings import TrainSettings
from vprlib.train.trainer import Outcome, Trainer


@dataclass(frozen=True)
class School:
    """All that learning needs besides the network."""

    read: Callable[[], TrainingData]  # only once something learns
    settings: TrainSettings  # the recipe's
    device: torch.device
    runtime: RuntimeSettings
    scratch: Scratch  # a folder a lesson below it
    store: Store
    group: Group
    say: Callable[[str], None] = lambda line: None  # of each epoch, as Trainer.run

    @cached_property
    def data(self) -> TrainingData:
        return self.read()

    def teach(self, model: PlaceModel, lesson: Lesson, number: int) -> Outcome:
        """The best of the epochs; the network as it came is one of them.

        A lesson that was interrupted goes on, and one that was over is over at once.
        """
        settings = self.settings.model_copy(update=self._changes(model, lesson))
        scratch = Scratch(self.scratch.folder / f"lesson-{number}")
        trainer = Trainer(
            model,
            self.data,
            settings,
            self.device,
            self.runtime,
            scratch,
            self.store,
            self.group,
        )
        return trainer.run(say=self.say)

    def _changes(self, model: PlaceModel, lesson: Lesson) -> dict[str, object]:
        lowest, _ = next(model.backbone.named_children())
        first = lesson.first_layer if isinstance(lesson, Finetune) else None
        changes = {
            "epochs": lesson.epochs,
            "learning_rate": lesson.learning_rate,
            "first_layer": first or lowest,
        }
        # learning under int8's rounding needs the exact values that are rounded
        return changes if isinstance(lesson, Finetune) else changes | {"precision": "float32"}


Told = dict[str, object]


@dataclass(frozen=True)
class Made:
    """A network, how it is to lie in its file, and what was done to it, step by step."""

    model: PlaceModel
    form: Form = PLAIN
    steps: list[Told] = field(default_factory=list)


class Workshop:
    """Carries steps out, with the images and the training that they may need."""

    def __init__(
        self, database: ImageSource, school: School, device: torch.device, runtime: RuntimeSettings
    ) -> None:
        self.database, self.school = database, school
        self.device, self.runtime = device, runtime

    def make(self, base: PlaceModel, before: Sequence[Told], steps: Sequence[Step]) -> Made:
        """`before` tells what was done to the base; no step begins before all are looked at."""
        check_steps(base, steps)
        is_sparse = any(told["step"] == "sparsify" for told in before)
        made = Made(base, replace(PLAIN, leaves_out_zeros=is_sparse), list(before))
        for number, step in enumerate(steps):
            model, form, told = getattr(self, f"_{step.name}")(made, step.what, number)
            done = {"step": step.name, **step.what.model_dump(), **told, **size_of(model)}
            made = Made(model, form, [*made.steps, done])
        return made

    def _prune(self, made: Made, wanted: Prune, number: int) -> tuple[PlaceModel, Form, Told]:
        scores = self._scores(made.model, wanted)
        return without_channels(made.model.cpu(), wanted.fraction, scores), made.form, {}

    def _sparsify(self, made: Made, wanted: Sparsify, number: int) -> tuple[PlaceModel, Form, Told]:
        form = replace(made.form, leaves_out_zeros=True)
        return sparsify(made.model, wanted.fraction), form, {}

    def _finetune(self, made: Made, wanted: Finetune, number: int) -> tuple[PlaceModel, Form, Told]:
        outcome = self._taught(made.model, made.form, wanted, number)
        return outcome.model.cpu(), made.form, _told(outcome)

    def _quantise(self, made: Made, wanted: Quantise, number: int) -> tuple[PlaceModel, Form, Told]:
        model, told = placed(made.model, self.device), {}
        rehearsal = rehearse(model, lambda: self._images(wanted.images, wanted.seed))
        if wanted.finetune is not None:
            model = learner(model, rehearsal)
            outcome = self._taught(model, made.form, wanted.finetune, number)
            told = _told(outcome)
        matrices = () if model.whitening is None else ("whitening.weight",)
        form = replace(made.form, in_int8=matrices)
        return quantised(model, rehearsal).cpu(), form, told

    def _round(self, made: Made, wanted: Round, number: int) -> tuple[PlaceModel, Form, Told]:
        precision = "bfloat16" if wanted.to == "bfloat16" else "float32"
        model = PlaceModel(replace(made.model.architecture, precision=precision))
        model.load_state_dict(made.model.state_dict())
        return model, replace(made.form, numbers=wanted.to), {}

    def _taught(self, model: PlaceModel, form: Form, lesson: Lesson, number: int) -> Outcome:
        if form.leaves_out_zeros:
            hold_zeros(model)
        return self.school.teach(model, lesson, number)

    def _scores(self, model: PlaceModel, wanted: Prune) -> Scores:
        if wanted.by == "magnitude":
            return by_magnitude(model)
        images = self._images(wanted.images, wanted.seed)
        model = placed(model, self.device)
        return by_change(model, (batch.to(self.device) for batch in images), wanted.seed)

    def _images(self, count: int, seed: int) -> Iterator[Tensor]:
        """Batches of random images of the training database, uint8 [B, H, W, 3]."""
        rows = choose_rows(len(self.database.index), count, seed)
        batches = plan_batches(self.database.sizes(), rows)
        return (torch.from_numpy(b.pixels) for b in stream(self.database, batches, self.runtime))


def check_steps(base: PlaceModel, steps: Sequence[Step]) -> None:
    """A sentence where this network cannot go through one of them."""
    a = base.architecture
    if a.int8 is not None:
        raise UserError(f"a network in int8, as this {a.backbone} is, can no longer change.")
    for step in steps:
        if step.name == "prune":
            check_prunable(base)
        elif step.name == "quantise":
            trace(base.backbone, a.backbone)
        elif step.name == "finetune" and step.finetune.first_layer is not None:
            trainable_children(a.backbone, a.cut, step.finetune.first_layer)


def size_of(model: PlaceModel) -> dict[str, int]:
    """Numbers that the network consists of, of which some may be zero, and its dimensions."""
    tensors = model.state_dict().values()
    weights = sum(t.numel() for t in tensors)
    return {"weights": weights, "zeros": weights - sum(int(t.count_nonzero()) for t in tensors)}


def _told(outcome: Outcome) -> Told:
    log = [{"epoch": row.epoch, **row.recalls} for row in outcome.log]
    return {"best_epoch": outcome.best.epoch, "log": log}
