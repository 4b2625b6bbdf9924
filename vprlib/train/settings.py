"""The `train` section of params.yaml."""

from collections.abc import Callable
from typing import Annotated, ClassVar, Literal, Self

import torch
from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from vprlib.model.precision import resolve_precision
from vprlib.model.settings import Precision, StoredPrecision
from vprlib.pipeline.params import Metres, Section, Seed
from vprlib.pipeline.switches import NO_TEACHER, OWN

Distance = Literal["l2", "squared"]
# full: searches the whole database; partial: searches a sample; random: uses no descriptors
Mining = Literal["full", "partial", "random"]
Positive = Literal["nearest", "random"]  # nearest by descriptor
_Some = Annotated[int, Field(ge=1, le=10**6)]
_SomeOrNone = Annotated[int, Field(ge=0, le=10**6)]
_Factor = Annotated[float, Field(ge=0.1, le=10)]
Jitter = tuple[_Factor, _Factor]
_Angle = Annotated[float, Field(gt=0, le=360)]


class LearningSettings(Section):
    """What all kinds of training have in common."""

    epochs: _SomeOrNone = 30  # 0 copies the start
    first_layer: str = "conv5_1"  # this layer and all above learn; 'pool': the pool alone
    precision: Precision = "auto"  # of convolutions; auto: bfloat16 if the device has it
    stored: StoredPrecision = "float32"  # of the cached output of frozen layers
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    learning_rate: float = Field(1e-4, gt=0, le=1e6)
    momentum: float = Field(0.9, ge=0, lt=1)  # of SGD
    weight_decay: float = Field(1e-3, ge=0, le=1e6)
    keep: Literal["best", "last"] = "best"  # epoch by validation; or the last one
    validate_every: _Some = 1  # epochs; the first and the last are always validated
    patience: _Some = 10  # epochs without a better R@5 before it stops
    val_queries: _Some | None = None  # validation queries drawn once; null: all
    # random ones per validation query; 0: no rank loss
    rank_loss_negatives: _SomeOrNone = 1000
    seed: Seed = 1

    def resolved(self, device: torch.device, say: Callable[[str], None]) -> Self:
        """With the precision that `auto` means on this device."""
        precision = resolve_precision(self.precision, device, say)
        return self.model_copy(update={"precision": precision})


class LabelledSettings(LearningSettings):
    """Training that is told, by positions or lists, which images show one place."""

    teacher: str = NO_TEACHER
    positive_radius_m: Metres | None = None  # null: the specification's own
    negative_radius_m: Metres | None = None  # null: the specification's own
    flip: float = Field(0.0, ge=0, le=1)  # probability that images are mirrored

    @field_validator("teacher")
    @classmethod
    def _learns_from_labels(cls, teacher: str) -> str:
        if teacher != NO_TEACHER:
            raise ValueError(
                f"should be {NO_TEACHER}, since only train.kind distil has a teacher, but is"
                f" '{teacher}'"
            )
        return teacher


class TrainSettings(LabelledSettings):
    """Training on triplets; the defaults are the paper's and the PyTorch port's."""

    kind: Literal["triplets"] = "triplets"
    learning_rate_factor: float = Field(0.5, gt=0, lt=1)  # the rate is multiplied by it …
    learning_rate_step: _Some = 5  # … after each this many epochs
    distance: Distance = "l2"  # or squared, as in the paper
    margin: float = Field(0.1, gt=0, le=1e6)  # for squared distances; l2 takes its square root
    queries_a_step: _Some = 4
    accumulate: _Some = 1  # so many such steps are summed before the optimiser moves
    train_queries: Literal["queries", "database"] = "queries"  # or the database images themselves
    mining: Mining = "full"
    positive: Positive = "nearest"
    negatives: _Some = 10  # hardest ones per query, used and remembered
    skip_hardest: _SomeOrNone = 0  # so many of the hardest are left out
    negative_pool: _Some = 1000  # random ones compared: per query; if partial, per block
    refresh_queries: _SomeOrNone = 1000  # describe all again after so many; 0: once an epoch
    refresh_doubles: bool = False  # double that interval whenever the rate steps, as the original
    exclude_same_spot: bool = True  # no positive within 1 m of the query
    jitter: Jitter | None = None  # range of the factor that a tuple's images are resized by

    @field_validator("jitter")
    @classmethod
    def _rises(cls, jitter: Jitter | None) -> Jitter | None:
        if jitter is not None and jitter[0] > jitter[1]:
            raise ValueError(f"should be [smallest, largest] factor, but is {list(jitter)}")
        return jitter

    @model_validator(mode="after")
    def _random_mining_looks_at_nothing(self) -> Self:
        if self.mining == "random" and self.positive == "nearest":
            raise ValueError(
                "mining is random, which describes nothing and so cannot know the nearest"
                " positive: set positive to random, or mining to partial"
            )
        if self.mining == "random" and self.skip_hardest:
            raise ValueError(
                f"skip_hardest is {self.skip_hardest}, but random mining cannot know the hardest"
                " negatives: set it to 0, or mining to partial"
            )
        return self

    @property
    def images_a_part(self) -> int:
        """At most, in one pass through the network."""
        return self.queries_a_step * (2 + self.negatives)

    def rate_at(self, epoch: int) -> float:
        return self.learning_rate * self.learning_rate_factor ** self.rate_steps(epoch)

    def rate_steps(self, epoch: int) -> int:
        """How often the learning rate was lowered before this epoch."""
        return (epoch - 1) // self.learning_rate_step


class CliqueSettings(Section):
    """A place: images that all lie within the positive radius of each other."""

    kind: Literal["cliques"]
    members: Literal["alike", "random"] = "alike"  # most like the first image, or any of them
    heading_deg: _Angle | None = None  # headings differ by at most so much; null: by any angle


class CellSettings(Section):
    """A place: the images of a square and of a range of headings."""

    kind: Literal["cells"]
    cell_m: Metres = 10.0
    heading_deg: _Angle | None = None  # null: one range


class StepSchedule(Section):
    """The rate rises linearly, and is then lowered after certain epochs."""

    kind: Literal["steps"]
    warm_up: _SomeOrNone = 0
    unit: Literal["steps", "epochs"] = "steps"  # of warm_up
    factor: float = Field(0.3, gt=0, le=1)  # the rate is multiplied by it …
    epochs: tuple[_Some, ...] = ()  # … after each of these

    def factor_at(self, epoch: int, done: int, share: float) -> float:
        """Of the rate, after `done` steps of the run; after this one, `share` of its epoch."""
        passed = done + 1 if self.unit == "steps" else epoch - 1 + share
        lowered = self.factor ** sum(epoch > limit for limit in self.epochs)
        return lowered * (min(1.0, passed / self.warm_up) if self.warm_up else 1.0)


class LinearSchedule(Section):
    """The rate falls linearly to a share of itself, and stays there."""

    kind: Literal["linear"]
    steps: _Some
    end: float = Field(0.2, ge=0, le=1)

    def factor_at(self, epoch: int, done: int, share: float) -> float:
        return 1 - (1 - self.end) * min(1.0, done / self.steps)


class SimilaritySettings(Section):
    """The MultiSimilarity loss and its miner, by the names of its paper."""

    alpha: float = Field(1.0, gt=0, le=1e3)  # how sharply positives count
    beta: float = Field(50.0, gt=0, le=1e3)  # and negatives
    base: float = Field(0.0, ge=-1, le=1)  # λ, a similarity
    epsilon: float = Field(0.1, ge=0, le=2)  # the miner keeps what is this near to being wrong


class RandAugmentSettings(Section):
    operations: Annotated[int, Field(ge=1, le=14)] = 3  # on an image, one after the other
    magnitude: Annotated[int, Field(ge=0, le=30)] = 9


class PlacesSettings(LabelledSettings):
    """Training on batches of places; the defaults are those of GSV-Cities."""

    kind: Literal["places"]
    train_images: Literal["all", "database"] = "all"  # of the training set: queries too, or not
    labels: Annotated[CliqueSettings | CellSettings, Field(discriminator="kind")]
    images_a_place: Annotated[int, Field(ge=2, le=1000)] = 4
    places_a_batch: Annotated[int, Field(ge=2, le=10**5)] = 60
    batches: Literal["alike", "random"] = "alike"  # places of a batch look alike
    place_pool: _Some = 1000  # random ones that the look-alikes of a batch are drawn from
    images_a_pass: _Some = 64  # through the network at once; it changes memory, not the step
    loss: SimilaritySettings = SimilaritySettings()
    schedule: Annotated[StepSchedule | LinearSchedule, Field(discriminator="kind")]
    randaugment: RandAugmentSettings | None = None
    # of the rank loss of validation
    distance: ClassVar[Distance] = "squared"
    margin: ClassVar[float] = 0.1

    @property
    def images_a_part(self) -> int:
        return self.images_a_pass

    @property
    def jitter(self) -> None:
        """No image is resized."""

    @property
    def is_described(self) -> bool:
        """Whether an epoch begins with the descriptors of all images."""
        return self.batches == "alike" or getattr(self.labels, "members", "") == "alike"


class DistilLossSettings(Section):
    """What a student is judged by, as a weighted sum."""

    descriptors: float = Field(0.0, ge=0, le=1e6)  # 1 − cosine to the teacher's descriptor
    similarities: float = Field(1.0, ge=0, le=1e6)  # which images of a batch are how much alike
    temperature: float = Field(0.03, gt=0, le=1e3)  # the lower, the more the nearest count

    @model_validator(mode="after")
    def _something_counts(self) -> Self:
        if not self.descriptors and not self.similarities:
            raise ValueError("descriptors and similarities are both 0, so nothing would be learnt")
        return self


class DistilSettings(LearningSettings):
    """Training on what another network says of the images, without labels."""

    kind: Literal["distil"]
    teacher: str  # a network that is there before training
    train_images: Literal["all", "database"] = "all"  # of the training set: queries too, or not
    images_a_batch: Annotated[int, Field(ge=2, le=10**5)] = 64  # similarities are those of a batch
    batches: Literal["alike", "random"] = "alike"  # images of a batch look alike to the teacher
    image_pool: _Some = 1000  # random ones that the look-alikes of a batch are chosen from
    images_a_pass: _Some = 64  # through the network at once; it changes memory, not the step
    loss: DistilLossSettings = DistilLossSettings()
    schedule: Annotated[StepSchedule | LinearSchedule, Field(discriminator="kind")]
    randaugment: RandAugmentSettings | None = None  # of what the student sees
    # of the rank loss of validation
    distance: ClassVar[Distance] = "squared"
    margin: ClassVar[float] = 0.1

    @field_validator("teacher")
    @classmethod
    def _is_there_before(cls, teacher: str) -> str:
        if teacher == NO_TEACHER:
            raise ValueError(
                f"is {NO_TEACHER}, but train.kind distil needs a network to learn from"
            )
        if teacher == OWN[1]:
            raise ValueError(
                f"is {teacher}, which is what is being trained: copy its file to data/raw/weights"
                " and name it in `networks` (see docs/training.md)"
            )
        return teacher

    @property
    def images_a_part(self) -> int:
        return self.images_a_pass

    @property
    def jitter(self) -> None:
        """No image is resized."""


def _kind(values: object) -> str:
    """triplets, unless the section says something else."""
    if isinstance(values, dict):
        return str(values.get("kind", "triplets"))
    return str(getattr(values, "kind", "triplets"))


AnySettings = TrainSettings | PlacesSettings | DistilSettings
# the `train` section
Training = Annotated[
    Annotated[TrainSettings, Tag("triplets")]
    | Annotated[PlacesSettings, Tag("places")]
    | Annotated[DistilSettings, Tag("distil")],
    Discriminator(_kind),
]
