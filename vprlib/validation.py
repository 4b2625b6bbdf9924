"""What a network is worth on the validation set: recall, and the rank loss."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from vprlib.rank_loss import RankLoss, mean_loss, rank_losses
from vprlib.recall import recall_at
from vprlib.runtime import RuntimeSettings
from vprlib.search import search
from vprlib.selection import Describe
from vprlib.training_data import TrainingData

VALIDATION_NS = (1, 5, 10, 20)


class Validation(NamedTuple):
    recalls: dict[str, float]
    rank_loss: float | None  # none where not asked for, or where no query has both sides


def validate(
    data: TrainingData,
    settings: RankLoss,
    describe: Describe,
    runtime: RuntimeSettings,
    share: slice = slice(None),
    gather: Callable[[np.ndarray], np.ndarray] = lambda own: own,
) -> Validation:
    """Asks this share of the queries; `gather` puts the rows of all shares in the queries' order.

    It hears first of what was right [q, K], then, where a rank loss is asked for, of losses [q].
    """
    queries = describe("val-queries", data.val.queries, None)[share]
    database = describe("val-database", data.val.database, None)
    truth, memory = data.val_truth.take(share), runtime.memory_bytes
    found = search(queries, database, max(VALIDATION_NS), memory, runtime.cores)
    right = gather(truth.is_right(found.rows))
    recalls = {f"recall@{n}": value for n, value in recall_at(right, VALIDATION_NS).items()}
    if not settings.negatives:
        return Validation(recalls, None)
    losses = gather(rank_losses(queries, database, found, truth, settings, memory))
    return Validation(recalls, mean_loss(losses))
