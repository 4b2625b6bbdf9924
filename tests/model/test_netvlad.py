"""The NetVLAD layer against double loops, hand cases and the softmax it should start from."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from twins import vlad_looped

from vprlib.model.netvlad import NetVLAD, Version, alpha_v1, alpha_v2, initialise

VERSIONS = pytest.mark.parametrize("version", ["v1", "v2"])
RATIO = -math.log(0.01)


def a_layer(version: Version, clusters: int = 5, dim: int = 7, seed: int = 0) -> NetVLAD:
    generator = torch.Generator().manual_seed(seed)
    layer = NetVLAD(clusters, dim, version)
    for parameter in layer.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    return layer


def some(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def unit(*shape: int, seed: int = 1) -> Tensor:
    return F.normalize(some(*shape, seed=seed), dim=1)


def words() -> Tensor:
    """Six centroids, each of another length: equal ones would hide a wrong bias."""
    return unit(6, 5, seed=2) * torch.linspace(0.5, 1.2, 6)[:, None]


@VERSIONS
def test_netvlad_equals_the_double_loop(version: Version) -> None:
    layer, features = a_layer(version), some(3, 7, 4, 5)
    np.testing.assert_allclose(layer(features).detach(), vlad_looped(layer, features), atol=1e-5)


def test_netvlad_of_two_positions_by_hand() -> None:
    layer = NetVLAD(2, 2, "v1")
    layer.conv.weight.data.zero_()  # each position belongs to each word by one half
    layer.centroids.data = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    features = torch.tensor([[3.0, 0.0], [0.0, 5.0]]).reshape(1, 2, 1, 2)  # unit: (1,0), (0,1)
    half = math.sqrt(0.5)
    # words: ½(1,1) and ½(−1,1), each made unit, then the whole made unit
    expected = torch.tensor([[half, half, -half, half]]) * half
    torch.testing.assert_close(layer(features), expected)


@VERSIONS
def test_netvlad_ignores_the_length_of_local_features(version: Version) -> None:
    layer, features = a_layer(version), some(2, 7, 3, 3)
    lengths = some(2, 1, 3, 3, seed=9).abs() + 0.1
    torch.testing.assert_close(layer(features * lengths), layer(features), atol=1e-5, rtol=0)


def test_netvlad_is_cluster_major() -> None:
    layer, features = a_layer("v2"), some(1, 7, 3, 3)
    swapped = a_layer("v2")
    order = torch.tensor([1, 0, 2, 3, 4])
    for parameter in swapped.parameters():
        parameter.data = parameter.data[order]
    expected = layer(features).reshape(5, 7)[order].flatten()
    torch.testing.assert_close(swapped(features)[0], expected, atol=1e-6, rtol=0)


def test_alpha_v1_by_hand() -> None:
    centroids = torch.tensor([[2.0, 0.0], [0.0, 5.0]])
    sample = torch.tensor([[1.0, 0.0], [0.6, 0.8]])  # gaps 1 − 0 and 0.8 − 0.6
    assert alpha_v1(centroids, sample) == pytest.approx(RATIO / 0.6, abs=1e-5)


def test_alpha_v2_by_hand() -> None:
    centroids = torch.tensor([[1.0, 0.0], [0.0, 2.0], [9.0, 9.0]])
    sample = torch.tensor([[1.0, 0.0], [0.0, 1.0]])  # squared distances 0, 5 and 1, 2
    assert alpha_v2(centroids, sample) == pytest.approx(RATIO / 3, abs=1e-5)


@pytest.mark.parametrize(
    ("alpha", "closeness"),
    [
        (alpha_v1, lambda c, x: c @ x / np.linalg.norm(c)),
        (alpha_v2, lambda c, x: -((c - x) ** 2).sum()),
    ],
)
def test_alpha_equals_the_loop_over_descriptors(alpha: object, closeness: object) -> None:
    centroids, sample = words(), unit(40, 5)
    gaps = []
    for x in sample.double().numpy():
        found = sorted(closeness(c, x) for c in centroids.double().numpy())
        gaps.append(found[-1] - found[-2])
    assert alpha(centroids, sample) == pytest.approx(RATIO / np.mean(gaps), rel=1e-5)


@pytest.mark.parametrize("alpha", [alpha_v1, alpha_v2])
def test_alpha_is_one_where_there_is_no_second_word(alpha: object) -> None:
    assert alpha(torch.ones(1, 3), unit(5, 3)) == 1.0
    assert alpha(torch.ones(4, 3), unit(5, 3)) == 1.0


@VERSIONS
def test_the_nearest_word_weighs_a_hundred_times_the_second_at_the_mean_gap(
    version: Version,
) -> None:
    centroids, sample = unit(2, 5, seed=2), unit(1, 5)
    layer = NetVLAD(2, 5, version)
    initialise(layer, centroids, sample)
    smaller, larger = sorted(assignment(layer, sample)[0].tolist())
    assert larger / smaller == pytest.approx(100, rel=1e-3)


def assignment(layer: NetVLAD, x: Tensor) -> Tensor:
    return layer.conv(x[:, :, None, None]).flatten(1).softmax(dim=1)


@pytest.mark.parametrize(
    ("version", "alpha_of", "closeness"),
    [
        ("v1", alpha_v1, lambda x, c: F.cosine_similarity(x, c, dim=2)),
        ("v2", alpha_v2, lambda x, c: -(x - c).square().sum(dim=2)),
    ],
)
def test_a_layer_starts_from_the_softmax_of_alpha_times_closeness(
    version: Version, alpha_of: object, closeness: object
) -> None:
    centroids, sample = words(), unit(40, 5)
    layer = NetVLAD(6, 5, version)
    alpha = initialise(layer, centroids, sample)
    assert alpha == pytest.approx(alpha_of(centroids, sample))
    expected = (alpha * closeness(sample[:, None], centroids[None])).softmax(dim=1)
    torch.testing.assert_close(assignment(layer, sample), expected, atol=1e-5, rtol=0)


@VERSIONS
def test_the_layer_keeps_the_centroids_as_they_are(version: Version) -> None:
    centroids = 3 * some(6, 5, seed=2)
    layer = NetVLAD(6, 5, version)
    initialise(layer, centroids, unit(40, 5))
    assert torch.equal(layer.centroids, centroids)
    assert (layer.conv.bias is None) == (version == "v1")


@VERSIONS
@pytest.mark.parametrize("is_normalised", [True, False])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_gradients_pass_the_check_by_differences_in_both_layouts(
    version: Version, is_normalised: bool, layout: torch.memory_format
) -> None:
    layer = NetVLAD(4, 6, version, is_normalised).double()
    for seed, parameter in enumerate(layer.parameters()):
        parameter.data = some(*parameter.shape, seed=seed).double()
    features = some(3, 6, 2, 3).double().to(memory_format=layout).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, *_: layer(x), (features, *layer.parameters()))


@VERSIONS
def test_gradients_equal_those_of_the_loop_over_clusters(version: Version) -> None:
    layer, features = a_layer(version), some(3, 7, 4, 5).requires_grad_()
    slope = some(3, 35, seed=4)
    x = F.normalize(features.flatten(2), dim=1)
    assignment = F.conv2d(x[..., None], layer.conv.weight, layer.conv.bias)[..., 0].softmax(dim=1)
    parts = [
        ((x - layer.centroids[k][:, None]) * assignment[:, k : k + 1]).sum(dim=2) for k in range(5)
    ]
    plain = F.normalize(F.normalize(torch.stack(parts, dim=1), dim=2).flatten(1), dim=1)
    inputs = [features, *layer.parameters()]
    expected = torch.autograd.grad((plain * slope).sum(), inputs)
    found = torch.autograd.grad((layer(features) * slope).sum(), inputs)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_an_image_keeps_its_descriptor_beside_any_others() -> None:
    layer, features = a_layer("v1", 16, 32), some(7, 32, 7, 9)
    whole = layer(features)
    alone = torch.cat([layer(features[n : n + 1]) for n in range(7)])
    torch.testing.assert_close(alone, whole, atol=1e-6, rtol=0)
    with torch.no_grad():
        assert torch.equal(layer(features), whole)
