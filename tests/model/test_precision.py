"""The precision that networks compute in: as asked for, or as the device has it natively."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from vprlib.model import precision
from vprlib.model.precision import compute_in, has_bfloat16, placed, resolve_precision

CPU = torch.device("cpu")
LAST = torch.channels_last
BOTH_WAYS = pytest.mark.parametrize("is_native", [True, False])


def some(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def convolved(x: Tensor, weight: Tensor) -> Tensor:
    """As nn.Conv2d calls it."""
    return F.conv2d(x, weight, None, (1, 1), (1, 1), (1, 1), 1)


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


@pytest.fixture
def native(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Makes this processor claim to have bfloat16, or not to."""
    return lambda has: monkeypatch.setattr(precision, "has_bfloat16", lambda device: has)


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_placed_channels_last_give_and_learn_what_they_do_plainly(name: str) -> None:
    network, image = seeded(NETWORKS[name]), some(2, 3, 64, 80)
    with torch.no_grad():
        plain = network(image)
    slopes = gradients(network, image)
    last = placed(network, CPU)
    with compute_in(CPU, "float32"):
        with torch.no_grad():
            found = last(image.contiguous(memory_format=LAST))
        learnt = gradients(last, image.contiguous(memory_format=LAST))
    torch.testing.assert_close(found, plain, atol=1e-5 * float(plain.abs().max()), rtol=1e-4)
    for one, other in zip(learnt, slopes, strict=True):
        assert (one - other).norm() <= 2e-5 * other.norm() + 1e-9


@BOTH_WAYS
def test_bfloat16_rounds_what_goes_in_and_out(
    native: Callable[[bool], None], is_native: bool
) -> None:
    native(is_native)
    x, weight = some(2, 16, 9, 9), some(8, 16, 3, 3, seed=2)
    with torch.no_grad(), compute_in(CPU, "bfloat16"):
        found = convolved(x, weight)
    assert found.dtype == (torch.bfloat16 if is_native else torch.float32)
    exact = F.conv2d(x.bfloat16().double(), weight.bfloat16().double(), padding=1)
    assert torch.equal(found.float(), found.bfloat16().float())
    torch.testing.assert_close(found.double(), exact, rtol=2**-8, atol=2**-8)


@BOTH_WAYS
def test_bfloat16_lets_gradients_through(native: Callable[[bool], None], is_native: bool) -> None:
    native(is_native)
    x, weight = some(2, 16, 9, 9), some(8, 16, 3, 3, seed=2).requires_grad_()
    slopes = []
    for wanted in ("float32", "bfloat16"):
        weight.grad = None
        with compute_in(CPU, wanted):
            found = convolved(x, weight)
        found.float().square().sum().backward()
        slopes.append(weight.grad.clone())
    assert 0 < (slopes[0] - slopes[1]).norm() < 0.02 * slopes[0].norm()


@BOTH_WAYS
def test_auto_is_bfloat16_only_where_the_device_has_it(
    native: Callable[[bool], None], is_native: bool
) -> None:
    native(is_native)
    said: list[str] = []
    assert resolve_precision("auto", CPU, said.append) == ("bfloat16" if is_native else "float32")
    assert resolve_precision("float32", CPU, said.append) == "float32"
    assert said == []
    assert resolve_precision("bfloat16", CPU, said.append) == "bfloat16"
    assert said == ([] if is_native else [precision.SLOW_BFLOAT16])
    with torch.no_grad(), compute_in(CPU, "auto"):
        found = convolved(some(1, 2, 5, 5), some(2, 2, 3, 3))
    assert found.dtype == (torch.bfloat16 if is_native else torch.float32)


@pytest.mark.parametrize(
    ("avx512", "amx", "expected"), [(True, False, True), (False, True, True), (False, False, False)]
)
def test_a_cpu_has_bfloat16_by_either_set_of_instructions(
    monkeypatch: pytest.MonkeyPatch, avx512: bool, amx: bool, expected: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)
    assert has_bfloat16(CPU) is expected


@pytest.mark.parametrize(
    ("capability", "expected"), [((7, 5), False), ((8, 0), True), ((9, 0), True)]
)
def test_a_gpu_has_bfloat16_from_ampere_on(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], expected: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert has_bfloat16(torch.device("cuda:1")) is expected
    assert not has_bfloat16(torch.device("meta"))
