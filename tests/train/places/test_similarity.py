"""The MultiSimilarity loss and its miner, against pytorch-metric-learning and a loop."""

import math

import numpy as np
import pytest
import torch
from pytorch_metric_learning.losses import MultiSimilarityLoss
from pytorch_metric_learning.miners import MultiSimilarityMiner

from vprlib.train.places.similarity import mined, similarity_loss
from vprlib.train.settings import SimilaritySettings

SETTINGS = [
    SimilaritySettings(),
    SimilaritySettings(alpha=2, beta=40, base=0.5, epsilon=0.0),
    SimilaritySettings(beta=10, base=0.2, epsilon=2.0),  # nothing is left out
]


def batch(seed: int, places: int = 5, size: int = 3, dim: int = 6) -> torch.Tensor:
    """Unit vectors, those of a place somewhat alike."""
    draw = torch.Generator().manual_seed(seed)
    centres = torch.randn(places, 1, dim, generator=draw, dtype=torch.float64)
    vectors = centres + torch.randn(places, size, dim, generator=draw, dtype=torch.float64)
    return torch.nn.functional.normalize(vectors.reshape(-1, dim), dim=1)


def masks(count: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    labels = torch.arange(count) // size
    same = labels[:, None] == labels
    return same & ~torch.eye(count, dtype=torch.bool), ~same


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_loss_and_gradient_are_those_of_pytorch_metric_learning(
    settings: SimilaritySettings, seed: int
) -> None:
    ours, theirs = (batch(seed).requires_grad_() for _ in range(2))
    # it makes vectors unit itself
    unit = torch.nn.functional.normalize(ours, dim=1)
    loss, _ = similarity_loss(unit, *masks(15, 3), settings)
    loss.backward()
    labels = torch.arange(15) // 3
    pairs = MultiSimilarityMiner(epsilon=settings.epsilon)(theirs, labels)
    wanted = MultiSimilarityLoss(alpha=settings.alpha, beta=settings.beta, base=settings.base)
    expected = wanted(theirs, labels, pairs)
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-9)
    torch.testing.assert_close(ours.grad, theirs.grad)


@pytest.mark.parametrize("settings", SETTINGS)
def test_the_loss_equals_the_loop_also_where_pairs_are_left_out(
    settings: SimilaritySettings,
) -> None:
    vectors, s = batch(4), settings
    positive, negative = masks(15, 3)
    negative &= torch.rand(15, 15, generator=torch.Generator().manual_seed(1)) < 0.6
    loss, bearing = similarity_loss(vectors, positive, negative, s)
    similar = (vectors @ vectors.T).numpy()
    total, count = 0.0, 0
    for a in range(15):
        right = [similar[a, b] for b in range(15) if positive[a, b]]
        wrong = [similar[a, b] for b in range(15) if negative[a, b]]
        pulled = [v for v in right if wrong and v - s.epsilon < max(wrong)]
        pushed = [v for v in wrong if right and v + s.epsilon > min(right)]
        total += math.log(1 + sum(math.exp(-s.alpha * (v - s.base)) for v in pulled)) / s.alpha
        total += math.log(1 + sum(math.exp(s.beta * (v - s.base)) for v in pushed)) / s.beta
        count += bool(pulled or pushed)
    assert loss.item() == pytest.approx(total / 15)
    assert bearing == count


def test_the_gradient_is_that_of_finite_differences() -> None:
    vectors = batch(5, places=3, size=2, dim=4).requires_grad_()
    everything = SimilaritySettings(epsilon=2.0, beta=5.0)

    def loss(v: torch.Tensor) -> torch.Tensor:
        return similarity_loss(v, *masks(6, 2), everything)[0]

    assert torch.autograd.gradcheck(loss, vectors)


def test_the_miner_by_hand() -> None:
    """Places {0, 1} and {2, 3}: image 0 is sure of its place, image 2 is not."""
    similar = torch.tensor(
        [[1.0, 0.9, 0.1, 0.2], [0.9, 1.0, 0.85, 0.0], [0.1, 0.85, 1.0, 0.5], [0.2, 0.0, 0.5, 1.0]]
    )
    positive, negative = mined(similar, *masks(4, 2), 0.1)
    assert positive.nonzero().tolist() == [[1, 0], [2, 3]]
    assert negative.nonzero().tolist() == [[1, 2], [2, 1]]


def test_places_that_are_all_told_apart_give_no_loss_and_a_gradient_of_zero() -> None:
    vectors = torch.from_numpy(np.repeat(np.eye(3), 2, axis=0)).requires_grad_()
    loss, bearing = similarity_loss(vectors, *masks(6, 2), SimilaritySettings())
    loss.backward()
    assert (loss.item(), bearing) == (0.0, 0)
    assert torch.equal(vectors.grad, torch.zeros(6, 3, dtype=torch.float64))


def test_the_order_of_images_does_not_matter() -> None:
    vectors, order = batch(6), torch.randperm(15, generator=torch.Generator().manual_seed(2))
    positive, negative = masks(15, 3)
    loss, _ = similarity_loss(vectors, positive, negative, SimilaritySettings())
    turned = [mask[order][:, order] for mask in (positive, negative)]
    other, _ = similarity_loss(vectors[order], *turned, SimilaritySettings())
    assert other.item() == pytest.approx(loss.item(), rel=1e-12)
