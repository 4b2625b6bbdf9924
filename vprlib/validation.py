"""What a network is worth on the validation set: recall, and the rank loss."""

from typing import NamedTuple

from vprlib.rank_loss import RankLoss, rank_loss
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
    data: TrainingData, settings: RankLoss, describe: Describe, runtime: RuntimeSettings
) -> Validation:
    queries = describe("val-queries", data.val.queries, None)
    database = describe("val-database", data.val.database, None)
    found = search(queries, database, max(VALIDATION_NS), runtime.memory_bytes, runtime.cores)
    right = data.val_truth.is_right(found.rows)
    recalls = {f"recall@{n}": value for n, value in recall_at(right, VALIDATION_NS).items()}
    if not settings.negatives:
        return Validation(recalls, None)
    value = rank_loss(queries, database, found, data.val_truth, settings, runtime.memory_bytes)
    return Validation(recalls, value)
