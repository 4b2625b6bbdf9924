"""The recipe's training once more, for a network that has lost something."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch

from vprlib.group import Group
from vprlib.model import PlaceModel
from vprlib.runtime import RuntimeSettings
from vprlib.scratch import Scratch
from vprlib.store import Store
from vprlib.train_settings import TrainSettings
from vprlib.training import Outcome, Trainer
from vprlib.training_data import TrainingData
from vprlib.variant_settings import Finetune, Lesson


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
        return trainer.run()

    def _changes(self, model: PlaceModel, lesson: Lesson) -> dict[str, object]:
        lowest, _ = next(model.backbone.named_children())
        first = lesson.first_layer if isinstance(lesson, Finetune) else None
        return {
            "epochs": lesson.epochs,
            "learning_rate": lesson.learning_rate,
            "first_layer": first or lowest,
        }
