"""The operations of a backbone in float: to see their ranges, and to learn under rounding."""

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vprlib.compress.tracing import Traced
from vprlib.model.backbones import Normaliser
from vprlib.model.int8 import LARGEST_VALUE, LARGEST_WEIGHT, Pixels, surrounded, takes_image
from vprlib.model.operations import Grid, Operation, Runner

Look = Callable[[str, Tensor], None]


class FakeQuantBackbone(Runner):
    """Normalised images to a map; with grids, each number is rounded as int8 will round it.

    The gradient passes through rounding as if there were none, and stops at what is cut off.
    """

    def __init__(self, traced: Traced) -> None:
        super().__init__(traced.steps)
        self.layers = nn.ModuleList(Layer(*weights) for weights in traced.weights)
        self.grids: dict[str, Grid] = {}
        self.margin: Tensor | None = None  # around normalised images, of a colour nearly zero
        self.look: Look | None = None  # is told of each map that a convolution gives

    def start_rounding(self, grids: Mapping[str, Grid], pixels: Pixels) -> None:
        self.grids = dict(grids)
        normalise = Normaliser(pixels.mean, pixels.std)
        self.margin = normalise(pixels.margin[None, None, None])[0, :, 0, 0]
        for step, layer in zip(self.convolutions, self.layers, strict=True):
            assert isinstance(layer, Layer)
            layer.start_rounding(pixels.unit(step) if takes_image(step) else torch.ones(1))

    def weights(self) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Of each layer the integers, their scales, and the bias."""
        return [layer.numbers() for layer in self.layers if isinstance(layer, Layer)]

    def taken(self, image: Tensor) -> Tensor:
        return image

    def given(self, found: Tensor) -> Tensor:
        return found

    def conv(self, step: Operation, x: Tensor, added: Tensor | None = None) -> Tensor:
        layer = self.layers[self.place(step)]
        assert isinstance(layer, Layer)
        margin = x.new_zeros(x.shape[1]) if self.margin is None else self.margin.to(x.device)
        x, padding = surrounded(x, step, margin, 0.0)
        whole = (step.stride, padding, step.dilation, step.groups)
        x = F.conv2d(x, layer.rounded(), layer.bias, *whole)
        x = x if added is None else x + added
        x = x.relu() if step.is_rectified else x
        if self.look is not None:
            self.look(step.output, x.detach())
        return self._rounded(step.output, x)

    def max(self, step: Operation, x: Tensor) -> Tensor:
        return F.max_pool2d(x, step.kernel, step.stride, step.padding, 1, step.rounds_up)

    def clip(self, step: Operation, x: Tensor) -> Tensor:
        return x.clamp(0, step.ceiling)

    def join(self, step: Operation, *maps: Tensor) -> Tensor:
        return torch.cat(maps, dim=1)

    def _rounded(self, name: str, x: Tensor) -> Tensor:
        grid = self.grids.get(name)
        if grid is None:
            return x
        return torch.fake_quantize_per_tensor_affine(x, grid.scale, grid.zero, 0, LARGEST_VALUE)


class Layer(nn.Module):
    """Weight and bias of a convolution; the weight is rounded where there is a scale."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight.clone()), nn.Parameter(bias.clone())
        self.unit = torch.ones(1)  # of the numbers that the weight is given: see Pixels
        self.scale: Tensor | None = None
        self._kept: tuple[int, Tensor] | None = None

    def start_rounding(self, unit: Tensor) -> None:
        self.unit = unit.to(self.weight.device)
        self.scale = weight_scale(self.weight.detach() / self.unit)

    def numbers(self) -> tuple[Tensor, Tensor, Tensor]:
        """The integers, their scales, and the bias."""
        assert self.scale is not None
        return as_int8(self.weight.detach() / self.unit, self.scale), self.scale, self.bias

    def rounded(self) -> Tensor:
        """The same tensor until the weight changes, as long as nothing learns."""
        if self.scale is None:
            return self.weight
        if torch.is_grad_enabled():
            self._kept = None
            return self._round()
        if self._kept is None or self._kept[0] != self.weight._version:
            self._kept = self.weight._version, self._round()
        return self._kept[1]

    def _round(self) -> Tensor:
        assert self.scale is not None
        zeros = torch.zeros(len(self.scale), dtype=torch.int32, device=self.scale.device)
        numbers = torch.fake_quantize_per_channel_affine(
            self.weight / self.unit, self.scale, zeros, 0, -LARGEST_WEIGHT, LARGEST_WEIGHT
        )
        return numbers * self.unit


def weight_scale(weight: Tensor) -> Tensor:
    """By channel that is given [K]: what makes the squares of the rounding errors least."""
    flat = weight.flatten(1)
    largest = flat.abs().amax(dim=1)
    least = torch.full_like(largest, torch.inf)
    best = torch.ones_like(largest)
    for part in torch.linspace(0.5, 1.0, 26).tolist():
        scale = torch.where(largest > 0, part * largest / LARGEST_WEIGHT, torch.ones_like(largest))
        error = (as_int8(weight, scale).flatten(1) * scale[:, None] - flat).square().sum(dim=1)
        best = torch.where(error < least, scale, best)
        least = torch.minimum(least, error)
    return best


def as_int8(weight: Tensor, scale: Tensor) -> Tensor:
    """Whole numbers, still in float."""
    numbers = weight / scale.reshape(-1, *[1] * (weight.dim() - 1))
    return numbers.round().clamp(-LARGEST_WEIGHT, LARGEST_WEIGHT)
