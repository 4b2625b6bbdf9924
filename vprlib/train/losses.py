"""The triplet ranking loss, and the rank loss by which validation judges a network."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vprlib.pipeline.draws import Draw, generator
from vprlib.places.truth import Truth
from vprlib.train.pairwise import squared_distances
from vprlib.train.settings import AnySettings, Distance


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


def rank_losses(
    queries: np.ndarray,
    database: np.ndarray,
    rows: np.ndarray,
    distances: np.ndarray,
    truth: Truth,
    settings: AnySettings,
    memory_bytes: int,
) -> np.ndarray:
    """Mean over negatives of max(min d(positive) + m − d(negative), 0) for each query [q].

    NaN for a query without positives or negatives. All queries take their negatives from the
    start of one random order of the database, so that few descriptors are read.
    """
    to_positive = nearest_positives(queries, database, rows, distances, truth)
    excluded = truth.no_negatives()
    order = generator(Draw.RANKING, settings.seed).permutation(truth.database_size)
    order = order[: settings.rank_loss_negatives + int(excluded.counts().max(initial=0))]
    power = 2 if settings.distance == "squared" else 1
    limits = to_positive**power + margin_for(settings.margin, settings.distance)
    losses = np.empty(len(limits))
    # a quarter of the budget for a block's descriptors, or for its distances and masks
    size = max(1, memory_bytes // 4 // max(4 * database.shape[1], 64 * len(order)))
    for start in range(0, len(limits), size):
        part = slice(start, start + size)
        some = queries[part]
        near = excluded.take(part)
        is_negative = ~near.contain(np.broadcast_to(order, (len(some), len(order))))
        is_negative &= is_negative.cumsum(axis=1) <= settings.rank_loss_negatives
        cpu = torch.device("cpu")
        squared = squared_distances(some, database, order, cpu, memory_bytes // 8)  # q R
        gaps = limits[part, None] - (squared if power == 2 else np.sqrt(squared))
        sums = np.where(is_negative, np.maximum(gaps, 0), 0).sum(axis=1)
        counts = is_negative.sum(axis=1)
        losses[part] = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    return losses


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
