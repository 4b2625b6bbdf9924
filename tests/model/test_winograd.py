"""Winograd convolutions against the definition, by derivatives, and image by image."""

from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vprlib.model.fast import winograd
from vprlib.model.fast.winograd import (
    Winograd,
    filtered,
    gradients,
    weight_gradient,
    weight_spectrum,
)

SHAPES = [(1, 1, 1, 1, 1), (2, 3, 2, 4, 4), (3, 2, 5, 7, 10), (2, 4, 3, 13, 5), (9, 2, 2, 3, 9)]


def some(*shape: int, seed: int = 1, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def looped(x: Tensor, weight: Tensor) -> Tensor:
    """The definition, output by output."""
    padded = F.pad(x, (1, 1, 1, 1))
    out = x.new_zeros(len(x), len(weight), *x.shape[2:])
    for row, column in product(range(x.shape[2]), range(x.shape[3])):
        window = padded[:, None, :, row : row + 3, column : column + 3]
        out[:, :, row, column] = (window * weight).sum(dim=(2, 3, 4))
    return out


@pytest.mark.parametrize(("count", "c", "k", "height", "width"), SHAPES)
def test_it_equals_the_definition(count: int, c: int, k: int, height: int, width: int) -> None:
    x, weight, bias = some(count, c, height, width), some(k, c, 3, 3, seed=2), some(k, seed=3)
    found = Winograd.apply(x, weight, bias, None)
    torch.testing.assert_close(found, looped(x, weight) + bias[:, None, None])
    assert found.is_contiguous(memory_format=torch.channels_last) or found.numel() < 20


@pytest.mark.parametrize(("count", "c", "k", "height", "width"), SHAPES)
def test_the_weight_gradient_equals_autograd(
    count: int, c: int, k: int, height: int, width: int
) -> None:
    x, slope = some(count, c, height, width), some(count, k, height, width, seed=2)
    weight = some(k, c, 3, 3, seed=3).requires_grad_()
    F.conv2d(x, weight, padding=1).backward(slope)
    torch.testing.assert_close(weight_gradient(x, slope), weight.grad)


@pytest.mark.parametrize(("count", "c", "k", "height", "width"), SHAPES)
def test_the_map_s_gradient_equals_autograd(
    count: int, c: int, k: int, height: int, width: int
) -> None:
    x, slope = some(count, c, height, width).requires_grad_(), some(count, k, height, width, seed=2)
    weight = some(k, c, 3, 3, seed=3)
    F.conv2d(x, weight, padding=1).backward(slope)
    found, no_weight = gradients(x.detach(), slope, weight_spectrum(weight), False)
    torch.testing.assert_close(found, x.grad)
    assert no_weight is None


@pytest.mark.parametrize("has_bias", [True, False])
def test_all_gradients_pass_the_check_by_differences(has_bias: bool) -> None:
    x, weight = (some(2, 3, 5, 6).requires_grad_(), some(2, 3, 3, 3, seed=2).requires_grad_())
    bias = some(2, seed=3).requires_grad_() if has_bias else None
    assert torch.autograd.gradcheck(lambda *a: Winograd.apply(*a, None), (x, weight, bias))


def test_a_centre_tap_copies_the_map() -> None:
    x, weight = some(1, 1, 6, 5), torch.zeros(1, 1, 3, 3, dtype=torch.float64)
    weight[0, 0, 1, 1] = 2.0
    torch.testing.assert_close(filtered(x, weight_spectrum(weight), None), 2 * x)


@pytest.mark.parametrize("tiles", [1, 5, 8, 1000])
def test_the_size_of_blocks_changes_nothing(tiles: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x, weight = some(5, 3, 9, 14), some(4, 3, 3, 3, seed=2)
    whole = filtered(x, weight_spectrum(weight), None)
    slope = some(5, 4, 9, 14, seed=3)
    both = gradients(x, slope, weight_spectrum(weight), True)
    monkeypatch.setattr(winograd, "TILES", tiles)
    torch.testing.assert_close(filtered(x, weight_spectrum(weight), None), whole)
    torch.testing.assert_close(gradients(x, slope, weight_spectrum(weight), True), both)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 10), (15, 20), (30, 40)])
def test_an_image_keeps_its_bytes_beside_any_others(height: int, width: int) -> None:
    """What the store keeps was described in other batches than a training step has."""
    x = some(40, 128, height, width, dtype=torch.float32)
    spectrum = weight_spectrum(some(128, 128, 3, 3, seed=2, dtype=torch.float32))
    whole = filtered(x, spectrum, None)
    for first, last in [(0, 1), (0, 2), (3, 8), (7, 40), (11, 29), (39, 40)]:
        assert torch.equal(filtered(x[first:last], spectrum, None), whole[first:last])


def test_float32_is_as_good_as_a_plain_convolution() -> None:
    x, weight = some(2, 256, 12, 16, dtype=torch.float32).relu(), some(256, 256, 3, 3, seed=2) / 48
    exact = F.conv2d(x.double(), weight, padding=1)
    errors = [
        (found - exact).norm() / exact.norm()
        for found in (
            filtered(x, weight_spectrum(weight.float()), None),
            F.conv2d(x, weight.float(), padding=1),
        )
    ]
    assert errors[0] < 3e-6
    assert errors[0] < 20 * errors[1]
