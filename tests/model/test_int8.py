"""Integers on their way through a backbone: exact sums, whole maxima, nothing left in float."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from vprlib.compress.calibration import best_grid, calibrate
from vprlib.compress.fake_quant import FakeQuantBackbone, as_int8, weight_scale
from vprlib.compress.tracing import trace
from vprlib.model.backbones import IMAGENET_MEAN, IMAGENET_STD, Normaliser
from vprlib.model.int8 import (
    LARGEST_VALUE,
    LARGEST_WEIGHT,
    Int8Backbone,
    Pixels,
    grid_of,
    with_weights,
)
from vprlib.model.operations import IMAGE, Grid, Operation, Operations

NORMAL = Pixels(IMAGENET_MEAN, IMAGENET_STD)


class Branching(nn.Module):
    """All that the operations know: normalisations, a sum, a join, a clip, uneven windows."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 5, stride=2, padding=2)
        self.norm = nn.BatchNorm2d(8)
        self.pool = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.left = nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.right = nn.Conv2d(8, 8, 1)
        self.clip = nn.ReLU6()
        self.last = nn.Conv2d(16, 4, 3, padding=2, dilation=2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(F.relu(self.norm(self.first(x))))
        added = F.relu(self.left(x) + x)
        return self.last(torch.cat([added, self.clip(self.right(added))], dim=1))


def branching(seed: int = 1) -> nn.Module:
    torch.manual_seed(seed)
    network = Branching().eval()
    nn.init.uniform_(network.norm.running_var, 0.5, 2)
    nn.init.normal_(network.norm.running_mean)
    nn.init.uniform_(network.norm.weight, 0.5, 2)
    return network


def pixels(count: int = 2, height: int = 37, width: int = 50) -> Tensor:
    values = np.random.default_rng(3).integers(0, 256, (count, height, width, 3), dtype=np.uint8)
    return torch.from_numpy(values)


@torch.no_grad()
def both(network: nn.Module, of: Pixels = NORMAL) -> tuple[Int8Backbone, FakeQuantBackbone]:
    fake_quant = FakeQuantBackbone(trace(network, "it"))
    normalise = Normaliser(of.mean, of.std)
    grids = calibrate(fake_quant, lambda: [normalise(pixels())])
    fake_quant.start_rounding(grids, of)
    operations = Operations(steps=fake_quant.steps, grids=grids)
    return with_weights(operations, fake_quant.weights(), of), fake_quant


def filled_up(x: Tensor, step: Operation, colour: Tensor) -> Tensor:
    """The image in a frame of the colour, by a mask."""
    (top, left) = step.padding
    inside = F.pad(torch.ones_like(x), (left, left, top, top))
    return F.pad(x, (left, left, top, top)) + (1 - inside) * colour.to(x.dtype)[:, None, None]


def exact(backbone: Int8Backbone, step: Operation, x: Tensor) -> Tensor:
    """The convolution in float64, where sums of integers are exact."""
    layer, given = backbone.layers[backbone.place(step)], backbone.grids[step.inputs[0]]
    padding, x = step.padding, x.double() - given.zero
    if step.inputs[0] == IMAGE:
        padding, x = 0, filled_up(x, step, backbone.margin)
    whole = (None, step.stride, padding, step.dilation, step.groups)
    sums = F.conv2d(x, layer.weight.double(), *whole)
    scale = given.scale * layer.scale.double()[:, None, None]
    return sums * scale + layer.bias.double()[:, None, None]


@pytest.mark.parametrize("seed", [1, 2])
def test_every_convolution_is_that_of_whole_numbers_rounded_once(seed: int) -> None:
    backbone, _ = both(branching(seed))
    maps = {IMAGE: backbone.taken(pixels())}
    for step in backbone.steps:
        inputs = [maps[name] for name in step.inputs]
        found = getattr(backbone, step.kind)(step, *inputs)
        maps[step.output] = found
        if step.kind != "conv":
            continue
        wanted = exact(backbone, step, inputs[0])
        if len(inputs) > 1:
            other = backbone.grids[step.inputs[1]]
            wanted = wanted + (inputs[1].double() - other.zero) * other.scale
        wanted = wanted.relu() if step.is_rectified else wanted
        grid = backbone.grids.get(step.output)
        if grid is None:
            torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-6)
        else:
            numbers = (wanted / grid.scale + grid.zero).round().clamp(0, LARGEST_VALUE)
            assert (found.double() - numbers).abs().max() <= 1  # where float32 rounds a half
            assert (found.double() != numbers).double().mean() < 1e-3


def test_it_computes_what_its_rehearsal_computes() -> None:
    backbone, fake_quant = both(branching())
    with torch.no_grad():
        found, wanted = backbone(pixels()), fake_quant(Normaliser()(pixels()))
    assert ((found - wanted).norm() / wanted.norm()).item() < 0.02


def test_it_stays_near_the_network_it_comes_from() -> None:
    network = branching()
    backbone, _ = both(network)
    with torch.no_grad():
        wanted = network(Normaliser()(pixels()))
    found = backbone(pixels())
    assert found.shape == wanted.shape
    assert ((found - wanted).norm() / wanted.norm()).item() < 0.08


def test_no_convolution_is_left_in_float() -> None:
    backbone, _ = both(branching())
    backbone(pixels())
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        backbone(pixels())
    names = [event.name for event in seen.events()]
    assert sum(name.startswith("onednn::qconv2d_pointwise") for name in names) == 4
    assert not [name for name in names if "aten::" in name and "conv" in name]


def test_an_image_does_not_depend_on_those_beside_it() -> None:
    backbone, _ = both(branching())
    together = backbone(pixels(3))
    assert torch.equal(together[1:2], backbone(pixels(3)[1:2]))


def test_the_largest_sums_of_two_products_are_not_cut_off() -> None:
    """Processors without VNNI add pairs up in 16 bits."""
    assert 2 * LARGEST_VALUE * LARGEST_WEIGHT < 2**15
    step = Operation(kind="conv", inputs=(IMAGE,), output="y", shape=(4, 32, 3, 3), padding=(1, 1))
    backbone = Int8Backbone(Operations(steps=(step,), grids={IMAGE: Grid(scale=1.0, zero=0)}))
    backbone.layers[0].weight.fill_(LARGEST_WEIGHT)
    backbone.margin = torch.zeros(32, dtype=torch.uint8)
    x = torch.full((1, 32, 5, 5), LARGEST_VALUE, dtype=torch.uint8)
    found = backbone.conv(step, x.to(memory_format=torch.channels_last))
    assert found[0, 0, 2, 2].item() == 9 * 32 * LARGEST_VALUE * LARGEST_WEIGHT


@pytest.mark.parametrize("rounds_up", [False, True])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding"), [(2, 2, 0), (3, 2, 1), (3, 2, 0), (3, 1, 1)]
)
@pytest.mark.parametrize("size", [(7, 9), (8, 12), (6, 5)])
def test_maxima_are_those_of_pytorch(size, kernel, stride, padding, rounds_up) -> None:
    step = Operation(
        kind="max",
        inputs=(IMAGE,),
        output="y",
        kernel=(kernel, kernel),
        stride=(stride, stride),
        padding=(padding, padding),
        rounds_up=rounds_up,
    )
    x = torch.randint(0, 256, (2, 3, *size), dtype=torch.uint8)
    backbone = Int8Backbone(Operations(steps=(step,), grids={}))
    wanted = F.max_pool2d(x.float(), kernel, stride, padding, ceil_mode=rounds_up)
    assert torch.equal(backbone.max(step, x).float(), wanted)


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("of", [NORMAL, Pixels((0.2, 0.5, 0.9), (0.2, 0.3, 0.25))])
def test_pixels_are_taken_as_they_are(of: Pixels, groups: int) -> None:
    """A network of one layer rounds its weights, and nothing else but the margin's colour."""
    torch.manual_seed(1)
    network = nn.Sequential(nn.Conv2d(3, 6, (5, 3), stride=2, padding=(2, 1), groups=groups))
    backbone, fake_quant = both(network, of)
    (step,), ((integers, scale, bias),) = backbone.steps, fake_quant.weights()
    image = Normaliser(of.mean, of.std)(pixels()).double()
    units = 255 * torch.tensor(of.std).double().reshape(groups, -1).repeat_interleave(
        6 // groups, 0
    )
    weight = integers.double() * scale.double()[:, None, None, None] * units[..., None, None]
    assert (weight - network[0].weight).abs().max() <= 0.05 * network[0].weight.abs().max()
    whole = (bias.double(), step.stride, step.padding, step.dilation, groups)
    wanted, found = F.conv2d(image, weight, *whole), backbone(pixels())
    atol = 1e-5 * wanted.abs().max().item()
    inner = (found[..., 1:-1, 1:-1].double(), wanted[..., 1:-1, 1:-1])
    torch.testing.assert_close(*inner, rtol=0, atol=atol)
    half = 0.5 / 255 / min(of.std) * weight.abs().sum(dim=(1, 2, 3))
    assert ((found - wanted).abs().amax(dim=(0, 2, 3)) <= half).all()
    with torch.no_grad():
        torch.testing.assert_close(fake_quant(image.float()), found, rtol=0, atol=atol)


def test_the_grid_of_numbers_that_are_few_holds_them_all() -> None:
    assert grid_of(0.0, 0.0).scale > 0
    grid = grid_of(-1.0, 3.0)
    assert -grid.zero * grid.scale == pytest.approx(-1, abs=grid.scale)
    assert (LARGEST_VALUE - grid.zero) * grid.scale == pytest.approx(3, abs=grid.scale)


def test_the_best_grid_has_the_least_error_of_many() -> None:
    values = torch.randn(1_000_000, generator=torch.Generator().manual_seed(1)).pow(3).relu()
    low, high = 0.0, values.max().item()
    found = best_grid(torch.histc(values, 2048, low, high).double(), low, high)

    def error(grid: Grid) -> float:
        numbers = (values / grid.scale + grid.zero).round().clamp(0, LARGEST_VALUE)
        return float(((numbers - grid.zero) * grid.scale - values).square().sum())

    tried = [error(grid_of(0.0, high * part)) for part in np.linspace(0.2, 1, 30)]
    assert error(found) <= min(tried) * 1.05
    assert error(found) < error(grid_of(0.0, high))  # a few strays are not worth all steps


def test_weights_are_rounded_with_less_error_than_by_their_largest() -> None:
    weight = torch.randn(6, 400, generator=torch.Generator().manual_seed(1)).pow(3)
    scale, plain = weight_scale(weight), weight.abs().amax(dim=1) / LARGEST_WEIGHT
    errors = [((as_int8(weight, s) * s[:, None] - weight) ** 2).sum(dim=1) for s in (scale, plain)]
    assert (errors[0] <= errors[1] + 1e-9).all() and errors[0].sum() < errors[1].sum()
    assert weight_scale(torch.zeros(2, 3)).tolist() == [1.0, 1.0]


def test_operations_on_maps_that_nothing_made_are_refused() -> None:
    step = Operation(kind="clip", inputs=("nowhere",), output="y")
    with pytest.raises(ValueError, match="there is no such"):
        Operations(steps=(step,), grids={})
