"""The triplet loss: by hand, against a loop, and its gradient."""

import math

import pytest
import torch
from torch import Tensor

from vprlib.train.losses import distances, margin_for, triplet_loss
from vprlib.train.settings import Distance

KINDS = pytest.mark.parametrize("kind", ["l2", "squared"])


def triplets(count: int = 6, dim: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    sides = torch.randn(3, count, dim, generator=generator, dtype=torch.float64)
    return tuple(torch.nn.functional.normalize(sides, dim=2))


def test_the_squared_loss_by_hand() -> None:
    q, p = torch.zeros(2, 2), torch.tensor([[0.6, 0.8], [0.6, 0.8]])
    n = torch.tensor([[1.0, 0.0], [3.0, 4.0]])  # 1 + 0.1 − 1, and far beyond the margin
    assert triplet_loss(q, p, n, 0.1, "squared").item() == pytest.approx(0.1 / 2)


def test_the_plain_loss_by_hand() -> None:
    q, p = torch.zeros(2, 2), torch.tensor([[3.0, 4.0], [3.0, 4.0]])
    n = torch.tensor([[5.2, 0.0], [0.0, 9.0]])  # 5 + √0.09 − 5.2, and far beyond the margin
    assert triplet_loss(q, p, n, 0.09, "l2").item() == pytest.approx(0.1 / 2, abs=1e-5)


@KINDS
def test_the_loss_equals_a_loop_over_triplets(kind: Distance) -> None:
    power, m = (2, 0.1) if kind == "squared" else (1, math.sqrt(0.1))
    q, p, n = triplets()
    total = 0.0
    for a, b, c in zip(q.tolist(), p.tolist(), n.tolist(), strict=True):
        total += max(0.0, math.dist(a, b) ** power + m - math.dist(a, c) ** power)
    assert triplet_loss(q, p, n, 0.1, kind).item() == pytest.approx(total / len(n), abs=1e-5)


@KINDS
def test_the_gradient_of_the_loss_is_right(kind: Distance) -> None:
    sides = [side.requires_grad_() for side in triplets()]
    assert torch.autograd.gradcheck(lambda *s: triplet_loss(*s, 0.5, kind), sides)


@KINDS
def test_the_gradient_is_finite_where_query_and_positive_are_the_same(kind: Distance) -> None:
    q, _, n = (side.requires_grad_() for side in triplets())
    triplet_loss(q, q.detach().clone(), n, 4.0, kind).backward()
    assert q.grad.isfinite().all()


@KINDS
def test_negatives_beyond_the_margin_cost_nothing(kind: Distance) -> None:
    q = torch.zeros(3, 2)
    assert triplet_loss(q, q, q + 10, 0.1, kind).item() == 0.0


@KINDS
def test_the_loss_grows_with_the_margin(kind: Distance) -> None:
    values = [triplet_loss(*triplets(), margin, kind).item() for margin in (0.01, 0.1, 1.0)]
    assert values == sorted(values)


@KINDS
def test_no_triplets_cost_nothing(kind: Distance) -> None:
    none = torch.zeros(0, 4)
    assert triplet_loss(none, none, none, 0.1, kind).item() == 0.0


def test_plain_distances_take_the_root_of_the_margin() -> None:
    assert margin_for(0.1, "squared") == 0.1
    assert margin_for(0.1, "l2") == math.sqrt(0.1)


def test_distances_of_three_four_five() -> None:
    a, b = torch.zeros(1, 2), torch.tensor([[3.0, 4.0]])
    assert distances(a, b, "squared").item() == 25.0
    assert distances(a, b, "l2").item() == pytest.approx(5.0, abs=1e-5)
