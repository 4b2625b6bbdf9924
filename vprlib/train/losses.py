"""The triplet ranking loss, and the rank loss by which validation judges a network."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vprlib.pipeline.draws import Draw, generator
from vprlib.places.geo import Pairs
from vprlib.places.truth import Truth
from vprlib.train.pairwise import squared_distances

Distance = Literal["l2", "squared"]


def distances(a: Tensor, b: Tensor, kind: Distance) -> Tensor:
    """Distances of the rows of `a` and `b` [..., D]: Euclidean or squared."""
    if kind == "squared":
        return (a - b).square().sum(dim=-1)
    return F.pairwise_distance(a, b)  # adds 1e-6, so that the gradient at zero is finite


def margin_for(margin: float, kind: Distance) -> float:
    """The paper's margin is for squared distances; Euclidean ones use its square root."""
    return margin if kind == "squared" else math.sqrt(margin)


def triplet_loss(
    queries: Tensor, positives: Tensor, negatives: Tensor, margin: float, kind: Distance
) -> Tensor:
    """Σ max(0, d(q, p) + m − d(q, n)) / number of negatives; each [T, D], a row a triplet."""
    m = margin_for(margin, kind)
    gap = distances(queries, positives, kind) + m - distances(queries, negatives, kind)
    return F.relu(gap).sum() / max(1, len(negatives))


@dataclass(frozen=True)
class RankLoss:
    negatives: int  # random ones per query; all if there are fewer
    margin: float
    distance: Distance
    seed: int


def rank_losses(
    queries: np.ndarray,
    database: np.ndarray,
    rows: np.ndarray,
    distances: np.ndarray,
    truth: Truth,
    settings: RankLoss,
    memory_bytes: int,
) -> np.ndarray:
    """Mean over negatives of max(min d(positive) + m − d(negative), 0) for each query [q].

    NaN for a query without positives or negatives. All queries take their negatives from the
    start of one random order of the database, so that few descriptors are read.
    """
    to_positive = nearest_positives(queries, database, rows, distances, truth)
    excluded = truth.no_negatives()
    order = generator(Draw.RANKING, settings.seed).permutation(truth.database_size)
    order = order[: settings.negatives + int(excluded.counts().max(initial=0))]
    # a quarter of the budget for a block's descriptors, or for its distances and masks
    size = max(1, memory_bytes // 4 // max(4 * database.shape[1], 64 * len(order)))
    losses = [
        _losses(
            queries[start : start + size],
            to_positive[start : start + size],
            database,
            order,
            excluded.take(np.arange(start, min(start + size, len(to_positive)))),
            settings,
            memory_bytes,
        )
        for start in range(0, len(to_positive), size)
    ]
    return np.concatenate([np.zeros(0), *losses])


def mean_loss(losses: np.ndarray) -> float | None:
    """Over the queries that have a loss; None if none has."""
    known = losses[~np.isnan(losses)]
    return float(known.mean()) if len(known) else None


def nearest_positives(
    queries: np.ndarray, database: np.ndarray, rows: np.ndarray, distances: np.ndarray, truth: Truth
) -> np.ndarray:
    """Distance to the nearest positive of each query [Q]; NaN if it has none.

    It is read from the neighbors' `rows` and `distances` [Q, K] if a positive is among them.
    """
    right = truth.is_right(rows)
    distances = np.where(right, distances, np.inf).min(axis=1, initial=np.inf)
    positives = truth.positives()
    for query in np.flatnonzero(np.isinf(distances)).tolist():
        near = positives.of(query)
        offsets = database[near] - queries[query]
        distances[query] = np.linalg.norm(offsets, axis=1).min() if len(near) else np.nan
    return distances


def _losses(
    queries: np.ndarray,
    to_positive: np.ndarray,
    database: np.ndarray,
    order: np.ndarray,
    excluded: Pairs,
    settings: RankLoss,
    memory_bytes: int,
) -> np.ndarray:
    """The loss of each query of a block [q]; NaN without a positive or without a negative."""
    is_negative = ~excluded.contain(np.broadcast_to(order, (len(queries), len(order))))
    is_negative &= is_negative.cumsum(axis=1) <= settings.negatives
    squared = squared_distances(
        queries, database, order, torch.device("cpu"), memory_bytes // 8
    )  # q R
    power = 2 if settings.distance == "squared" else 1
    limit = to_positive**power + margin_for(settings.margin, settings.distance)
    gaps = limit[:, None] - (squared if power == 2 else np.sqrt(squared))
    sums = np.where(is_negative, np.maximum(gaps, 0), 0).sum(axis=1)
    counts = is_negative.sum(axis=1)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
