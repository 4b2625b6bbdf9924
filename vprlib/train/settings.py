"""The `train` section of params.yaml."""

from collections.abc import Callable
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, field_validator, model_validator

from vprlib.model.precision import resolve_precision
from vprlib.model.settings import Precision, StoredPrecision
from vprlib.pipeline.params import Metres, Section, Seed

Distance = Literal["l2", "squared"]
# full: searches the whole database; partial: searches a sample; random: uses no descriptors
Mining = Literal["full", "partial", "random"]
Positive = Literal["nearest", "random"]  # nearest by descriptor
_Some = Annotated[int, Field(ge=1, le=10**6)]
_SomeOrNone = Annotated[int, Field(ge=0, le=10**6)]
_Factor = Annotated[float, Field(ge=0.1, le=10)]
Jitter = tuple[_Factor, _Factor]


class TrainSettings(Section):
    """How the network learns; the defaults are the paper's and the PyTorch port's."""

    epochs: _SomeOrNone = 30  # 0 copies the start
    first_layer: str = "conv5_1"  # this layer and all above learn; 'pool': the pool alone
    precision: Precision = "auto"  # of convolutions; auto: bfloat16 if the device has it
    stored: StoredPrecision = "float32"  # of the cached output of frozen layers
    optimizer: Literal["sgd", "adam"] = "sgd"
    learning_rate: float = Field(1e-4, gt=0, le=1e6)
    learning_rate_factor: float = Field(0.5, gt=0, lt=1)  # the rate is multiplied by it …
    learning_rate_step: _Some = 5  # … after each this many epochs
    momentum: float = Field(0.9, ge=0, lt=1)  # of SGD
    weight_decay: float = Field(1e-3, ge=0, le=1e6)
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
    keep: Literal["best", "last"] = "best"  # epoch by validation; or the last one
    validate_every: _Some = 1  # epochs; the first and the last are always validated
    patience: _Some = 10  # epochs without a better R@5 before it stops
    positive_radius_m: Metres | None = None  # null: the specification's own
    negative_radius_m: Metres | None = None  # null: the specification's own
    exclude_same_spot: bool = True  # no positive within 1 m of the query
    flip: float = Field(0.0, ge=0, le=1)  # probability that a whole tuple is mirrored
    jitter: Jitter | None = None  # range of the factor that a tuple's images are resized by
    val_queries: _Some | None = None  # validation queries drawn once; null: all
    # random ones per validation query; 0: no rank loss
    rank_loss_negatives: _SomeOrNone = 1000
    seed: Seed = 1

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

    def resolved(self, device: torch.device, say: Callable[[str], None]) -> Self:
        """With the precision that `auto` means on this device."""
        precision = resolve_precision(self.precision, device, say)
        return self.model_copy(update={"precision": precision})

    def rate_at(self, epoch: int) -> float:
        return self.learning_rate * self.learning_rate_factor ** self.rate_steps(epoch)

    def rate_steps(self, epoch: int) -> int:
        """How often the learning rate was lowered before this epoch."""
        return (epoch - 1) // self.learning_rate_step
