"""Average, maximum, GeM and NetVLAD's switches against loops, hand cases and laws."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from twins import vlad_looped

from vprlib.model.pools import Average, GeM, Maximum, PoolSettings, build_pool, dim_out

KINDS = ("netvlad", "average", "max", "gem")
ALL = pytest.mark.parametrize("kind", [*KINDS, "netvlad v2"])


def settings_of(kind: str, **more: object) -> PoolSettings:
    kind, _, version = kind.partition(" ")
    return PoolSettings(kind=kind, version=version or "v1", **more)


def a_pool(kind: str, dim: int = 7, **more: object) -> nn.Module:
    pool = build_pool(settings_of(kind, **more), 3, dim)
    generator = torch.Generator().manual_seed(1)
    for name, parameter in pool.named_parameters():
        if name != "p":
            parameter.data = torch.randn(parameter.shape, generator=generator)
    return pool


def some(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def looped(features: Tensor, of: Callable[[list[float]], float]) -> np.ndarray:
    """One number a channel, then unit length, in float64."""
    described = []
    for image in features.double().flatten(2).tolist():
        values = np.array([of(channel) for channel in image])
        described.append(values / np.sqrt((values**2).sum()))
    return np.array(described)


def generalised_mean(p: float) -> Callable[[list[float]], float]:
    return lambda values: (sum(max(v, 1e-6) ** p for v in values) / len(values)) ** (1 / p)


HAND = torch.tensor([[3.0, 5.0], [0.0, 4.0]]).reshape(1, 2, 1, 2)  # two channels, two positions


def test_the_average_by_hand() -> None:
    expected = torch.tensor([[4.0, 2.0]]) / math.sqrt(20)
    torch.testing.assert_close(Average()(HAND), expected)


def test_the_maximum_by_hand() -> None:
    expected = torch.tensor([[5.0, 4.0]]) / math.sqrt(41)
    torch.testing.assert_close(Maximum()(HAND), expected)


def test_the_generalised_mean_by_hand() -> None:
    means = torch.tensor([[math.sqrt(17.0), math.sqrt(8.0)]])  # of squares 9, 25 and 0, 16
    torch.testing.assert_close(GeM(2.0)(HAND), means / 5)


@pytest.mark.parametrize(
    ("pool", "of"),
    [
        (Average(), lambda values: sum(values) / len(values)),
        (Maximum(), max),
        (GeM(3.0), generalised_mean(3.0)),
        (GeM(0.7), generalised_mean(0.7)),
    ],
)
def test_a_pool_equals_the_loop_over_channels(
    pool: nn.Module, of: Callable[[list[float]], float]
) -> None:
    features = some(3, 7, 4, 5)
    np.testing.assert_allclose(pool(features).detach(), looped(features, of), atol=1e-6)


@ALL
def test_a_pool_ignores_the_order_of_positions(kind: str) -> None:
    pool, features = a_pool(kind), some(2, 7, 4, 6)
    order = torch.randperm(24, generator=torch.Generator().manual_seed(3))
    shuffled = features.flatten(2)[:, :, order].reshape(2, 7, 8, 3)
    torch.testing.assert_close(pool(shuffled), pool(features), atol=1e-6, rtol=0)


@ALL
def test_a_pool_gives_unit_vectors_of_the_length_it_promises(kind: str) -> None:
    described = a_pool(kind)(some(4, 7, 3, 3))
    assert described.shape == (4, dim_out(settings_of(kind), 3, 7))
    torch.testing.assert_close(described.norm(dim=1), torch.ones(4))


@pytest.mark.parametrize("kind", ["average", "max", "gem"])
def test_a_pool_without_words_ignores_the_scale_of_features(kind: str) -> None:
    pool, features = a_pool(kind), some(2, 7, 3, 3).abs() + 0.1
    torch.testing.assert_close(pool(features * 50), pool(features), atol=1e-6, rtol=0)


def test_gem_lies_between_the_average_and_the_maximum() -> None:
    features = some(2, 7, 4, 4).abs() + 0.1
    torch.testing.assert_close(GeM(1.0)(features), Average()(features))
    torch.testing.assert_close(GeM(200.0)(features), Maximum()(features), atol=0.02, rtol=0)


@ALL
def test_gradients_of_a_pool_are_right(kind: str) -> None:
    pool = a_pool(kind, 4).double()
    features = some(2, 4, 2, 3).double().requires_grad_()
    inputs = (features, *pool.parameters())
    assert torch.autograd.gradcheck(lambda f, *_: pool(f), inputs)


@ALL
def test_features_of_nothing_but_zeros_give_finite_numbers(kind: str) -> None:
    pool, features = a_pool(kind), torch.zeros(2, 7, 3, 3, requires_grad=True)
    described = pool(features)
    described.sum().backward()
    assert described.isfinite().all()
    assert all(p.grad.isfinite().all() for p in pool.parameters())


@pytest.mark.parametrize("p", [0.01, 3.0, 12.0, 60.0])
def test_channels_that_are_off_and_large_exponents_give_finite_gradients(p: float) -> None:
    features = some(2, 7, 3, 3) * 40
    features[:, 2:4] = -1.0
    pool = GeM(p)
    described = pool(features.requires_grad_())
    (described * some(2, 7, seed=2)).sum().backward()
    torch.testing.assert_close(described.norm(dim=1), torch.ones(2))
    assert pool.p.grad.isfinite().all()
    assert features.grad.isfinite().all()


@pytest.mark.parametrize("normalise_input", [True, False])
@pytest.mark.parametrize("intra_normalise", [True, False])
def test_netvlads_switches_equal_the_double_loop(
    normalise_input: bool, intra_normalise: bool
) -> None:
    pool = a_pool("netvlad", normalise_input=normalise_input, intra_normalise=intra_normalise)
    features = some(3, 7, 4, 5)
    np.testing.assert_allclose(pool(features).detach(), vlad_looped(pool, features), atol=1e-5)


def test_netvlads_switches_matter() -> None:
    features = some(3, 7, 4, 5)
    vectors = [
        a_pool("netvlad", normalise_input=first, intra_normalise=second)(features)
        for first in (True, False)
        for second in (True, False)
    ]
    gaps = [(a - b).abs().max() for i, a in enumerate(vectors) for b in vectors[:i]]
    assert min(gaps) > 1e-2


def test_only_netvlad_and_gem_have_something_to_learn() -> None:
    learnt = {kind: [name for name, _ in a_pool(kind).named_parameters()] for kind in KINDS}
    assert learnt == {
        "netvlad": ["centroids", "conv.weight"],
        "average": [],
        "max": [],
        "gem": ["p"],
    }


def test_gem_starts_from_the_exponent_of_its_settings() -> None:
    pool = build_pool(PoolSettings(kind="gem", gem_p=4.5), 0, 7)
    assert pool.p.tolist() == [4.5]
    features = F.relu(some(1, 7, 3, 3))
    torch.testing.assert_close(pool(features), GeM(4.5)(features))
