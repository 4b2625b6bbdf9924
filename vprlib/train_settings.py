"""How the network learns: the `train` section of a recipe."""

from typing import Literal

from pydantic import Field

from vprlib.losses import Distance
from vprlib.mining import MiningRules
from vprlib.params import Section, Seed


class TrainSettings(Section):
    """How the network learns; the defaults are the paper's and the PyTorch port's."""

    epochs: int = Field(30, ge=0)  # 0 copies the start
    first_layer: str = "conv5_1"  # this layer and all above learn; 'pool': the pool alone
    optimizer: Literal["sgd", "adam"] = "sgd"
    learning_rate: float = Field(1e-4, gt=0)
    halve_every: int = Field(5, ge=1)  # epochs; the first halving is before the next one
    momentum: float = Field(0.9, ge=0, lt=1)  # of SGD
    weight_decay: float = Field(1e-3, ge=0)
    distance: Distance = "l2"  # or squared, as in the paper
    margin: float = Field(0.1, gt=0)  # for squared distances; l2 takes its square root
    queries_a_step: int = Field(4, ge=1)
    negatives: int = Field(10, ge=1)  # hardest ones a query, learnt from and remembered
    negative_pool: int = Field(1000, ge=1)  # random ones looked at for each query
    refresh_queries: int = Field(1000, ge=0)  # describe all anew after so many; 0: once an epoch
    patience: int = Field(10, ge=1)  # epochs without a better R@5 before it stops
    positive_radius_m: float | None = Field(None, gt=0)  # null: the specification's own
    negative_radius_m: float | None = Field(None, gt=0)  # null: the specification's own
    exclude_same_spot: bool = True  # no positive within 1 m of the query
    seed: Seed = 1

    def rules(self) -> MiningRules:
        return MiningRules(
            self.negatives, self.negative_pool, self.margin, self.distance, self.seed
        )

    def rate_at(self, epoch: int) -> float:
        return self.learning_rate * 0.5 ** ((epoch - 1) // self.halve_every)
