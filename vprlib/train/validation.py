"""Validation: recall and rank loss on the validation set."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from vprlib.pipeline.runtime import RuntimeSettings
from vprlib.places.truth import Truth, recall_at
from vprlib.train.losses import mean_loss, rank_losses
from vprlib.train.mining import Describe
from vprlib.train.pairwise import nearest
from vprlib.train.settings import AnySettings

VALIDATION_NS = (1, 5, 10, 20)
CPU = torch.device("cpu")


class Validation(NamedTuple):
    recalls: dict[str, float]
    rank_loss: float | None  # None if not wanted, or if no query has positives and negatives


def validate(
    truth: Truth,
    settings: AnySettings,
    describe: Describe,
    runtime: RuntimeSettings,
    share: slice = slice(None),
    gather: Callable[[np.ndarray], np.ndarray] = lambda own: own,
) -> Validation:
    """Validates a share of the queries; `gather` joins all shares in the order of the queries.

    `gather` is called with what was right [q, K] and, if a rank loss is wanted, with losses [q].
    """
    queries = describe("val-queries", None)[share]
    database = describe("val-database", None)
    truth, memory = truth.take(share), runtime.memory_bytes
    rows, squared = nearest(queries, database, max(VALIDATION_NS), CPU, memory)
    right = gather(truth.is_right(rows))
    recalls = {f"recall@{n}": value for n, value in recall_at(right, VALIDATION_NS).items()}
    if not settings.rank_loss_negatives:
        return Validation(recalls, None)
    losses = gather(rank_losses(queries, database, rows, np.sqrt(squared), truth, settings, memory))
    return Validation(recalls, mean_loss(losses))
