"""How networks compute: fast ways equal the plain one, forward and backward."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from vprlib.model.fast import arithmetic
from vprlib.model.fast.arithmetic import (
    Arithmetic,
    FastConvolutions,
    MixedLayout,
    has_bfloat16,
    placed,
)

CPU = torch.device("cpu")
LAST = torch.channels_last


def some(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def convolved(
    x: Tensor, weight: Tensor, padding: int = 1, stride: int = 1, dilation: int = 1, groups: int = 1
) -> Tensor:
    """As nn.Conv2d calls it."""
    return F.conv2d(x, weight, None, *((n, n) for n in (stride, padding, dilation)), groups)


def gradients(network: nn.Module, image: Tensor) -> list[Tensor]:
    network.zero_grad()
    network(image).square().mean().backward()
    return [p.grad.clone() for p in network.parameters()]


def seeded(network: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return network().eval()


NETWORKS = {
    "vgg": lambda: torchvision.models.vgg11(weights=None).features[:18],
    "squeezenet": lambda: torchvision.models.squeezenet1_1(weights=None).features[:8],
    "resnet": lambda: nn.Sequential(
        *list(torchvision.models.resnet18(weights=None).children())[:7]
    ),
    "mobilenet": lambda: torchvision.models.mobilenet_v3_small(weights=None).features[:6],
}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_say_and_learn_what_they_do_plainly(name: str) -> None:
    network, image = seeded(NETWORKS[name]), some(2, 3, 64, 80)
    with torch.no_grad():
        plain = network(image)
    slopes = gradients(network, image)
    last = placed(network, CPU)
    with Arithmetic(CPU):
        with torch.no_grad():
            fast = last(image.contiguous(memory_format=LAST))
        found = gradients(last, image.contiguous(memory_format=LAST))
    torch.testing.assert_close(fast, plain, atol=1e-5 * float(plain.abs().max()), rtol=1e-4)
    for one, other in zip(found, slopes, strict=True):
        assert (one - other).norm() <= 2e-5 * other.norm() + 1e-9


def test_winograd_is_used_where_it_is_worth_it_and_only_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    used = []
    whole = arithmetic.Winograd.apply

    class Counting:
        @staticmethod
        def apply(x: Tensor, weight: Tensor, *others: object) -> Tensor:
            used.append(tuple(weight.shape))
            return whole(x, weight, *others)

    monkeypatch.setattr(arithmetic, "Winograd", Counting)
    with torch.no_grad(), Arithmetic(CPU):
        for k, c, side in [
            (128, 128, 3),
            (256, 128, 3),
            (128, 64, 3),
            (128, 128, 1),
            (128, 128, 5),
        ]:
            convolved(some(1, c, 8, 9), some(k, c, side, side), side // 2)
        x, weight = some(1, 128, 8, 9), some(128, 128, 3, 3)
        convolved(some(1, 128, 6, 9), weight)  # hardly more than half of its tiles
        convolved(x, weight, stride=2)
        convolved(x, weight, padding=0)
        convolved(x, weight, padding=2, dilation=2)
        convolved(some(1, 256, 8, 9), some(256, 128, 3, 3), groups=2)
        F.conv2d(x, weight, padding="same")
        convolved(x.double(), weight.double())
    assert used == [(128, 128, 3, 3), (256, 128, 3, 3)]
    convolved(x, weight)
    assert len(used) == 2  # outside, everything is as it always was


@pytest.mark.parametrize(("stride", "padding", "dilation"), [(1, 1, 1), (2, 0, 1), (1, 2, 2)])
def test_gradients_in_two_layouts_pass_the_check_by_differences(
    stride: int, padding: int, dilation: int
) -> None:
    x, weight, bias = some(2, 3, 7, 8), some(4, 3, 3, 3, seed=2), some(4, seed=3)
    inputs = [t.double().requires_grad_() for t in (x, weight, bias)]
    given = ((stride,) * 2, (padding,) * 2, (dilation,) * 2)
    assert torch.autograd.gradcheck(lambda *a: MixedLayout.apply(*a, *given), inputs)
    assert torch.autograd.gradcheck(lambda *a: MixedLayout.apply(*a, None, *given), inputs[:2])


def test_the_other_way_to_a_weight_gradient_equals_autograd() -> None:
    x, weight, bias = some(2, 64, 7, 8), some(65, 64, 3, 3, seed=2), some(65, seed=4)
    slope, ones = some(2, 65, 7, 8, seed=3), ((1, 1),) * 3
    inputs = [t.double().requires_grad_() for t in (x, weight, bias)]
    plain = torch.autograd.grad(F.conv2d(*inputs, *ones), inputs, slope.double())
    found = torch.autograd.grad(MixedLayout.apply(*inputs, *ones), inputs, slope.double())
    for one, other in zip(found, plain, strict=True):
        torch.testing.assert_close(one, other)


def test_a_weight_that_changes_between_steps_is_seen() -> None:
    x, weight = some(1, 128, 8, 8), some(128, 128, 3, 3, seed=2).requires_grad_()
    fast = FastConvolutions()
    for _ in range(2):
        with fast:
            found = convolved(x, weight)
        torch.testing.assert_close(found, F.conv2d(x, weight, padding=1), atol=1e-3, rtol=1e-3)
        with torch.no_grad():
            weight.mul_(2)


def test_a_spectrum_is_derived_once_while_a_network_only_looks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made, whole = [], arithmetic.weight_spectrum
    monkeypatch.setattr(arithmetic, "weight_spectrum", lambda w: (made.append(1), whole(w))[1])
    x, weight, how = some(1, 128, 8, 8), some(128, 128, 3, 3, seed=2), Arithmetic(CPU)
    with torch.no_grad():
        for _ in range(3):
            with how:
                convolved(x, weight)
        assert len(made) == 1
        weight.mul_(2)
        with how:
            found = convolved(x, weight)
    assert len(made) == 2
    torch.testing.assert_close(found, F.conv2d(x, weight, padding=1), atol=1e-3, rtol=1e-3)


def test_bfloat16_rounds_what_goes_in_and_out() -> None:
    x, weight = some(2, 16, 9, 9), some(8, 16, 3, 3, seed=2)
    with torch.no_grad(), Arithmetic(CPU, "bfloat16"):
        found = convolved(x, weight).float()
    exact = F.conv2d(x.bfloat16().double(), weight.bfloat16().double(), padding=1)
    assert torch.equal(found, found.bfloat16().float())
    torch.testing.assert_close(found.double(), exact, rtol=2**-8, atol=2**-8)


def test_bfloat16_lets_gradients_through() -> None:
    x, weight = some(2, 16, 9, 9), some(8, 16, 3, 3, seed=2).requires_grad_()
    slopes = []
    for precision in ("float32", "bfloat16"):
        weight.grad = None
        with Arithmetic(CPU, precision):
            convolved(x, weight).float().square().sum().backward()
        slopes.append(weight.grad.clone())
    assert 0 < (slopes[0] - slopes[1]).norm() < 0.02 * slopes[0].norm()


def test_a_cpu_says_whether_it_has_bfloat16() -> None:
    assert has_bfloat16(CPU) in (True, False)
