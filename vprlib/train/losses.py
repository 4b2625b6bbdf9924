"""The triplet ranking loss of a query, its positive and its negatives."""

import math
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

Distance = Literal["l2", "squared"]


def distances(a: Tensor, b: Tensor, kind: Distance) -> Tensor:
    """Between the rows of `a` and `b` [..., D]: plain Euclidean, or its square."""
    if kind == "squared":
        return (a - b).square().sum(dim=-1)
    return F.pairwise_distance(a, b)  # adds 1e-6, so that the gradient at zero is finite


def margin_for(margin: float, kind: Distance) -> float:
    """The paper's m belongs to squared distances; plain ones take its root."""
    return margin if kind == "squared" else math.sqrt(margin)


def triplet_loss(
    queries: Tensor, positives: Tensor, negatives: Tensor, margin: float, kind: Distance
) -> Tensor:
    """Σ max(0, d(q, p) + m − d(q, n)) over the number of negatives; all [T, D], a row a triplet."""
    m = margin_for(margin, kind)
    gap = distances(queries, positives, kind) + m - distances(queries, negatives, kind)
    return F.relu(gap).sum() / max(1, len(negatives))
