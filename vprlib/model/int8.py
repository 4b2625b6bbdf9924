"""A backbone that computes in integers on CPUs: every convolution is oneDNN's, in int8."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vprlib.model.operations import IMAGE, Grid, Operation, Operations, Pair, Runner
from vprlib.pipeline.params import UserError

# Weights use 7 bits: processors without VNNI add pairs of products up in 16 bits, and
# 2 · 255 · 64 fits where 2 · 255 · 127 would be cut off. So all CPUs give the same sums.
LARGEST_WEIGHT = 64
LARGEST_VALUE = 255  # of a map
AS_IT_IS = Grid(scale=1.0, zero=0)  # of the image: see Pixels


@dataclass(frozen=True)
class Pixels:
    """How a network normalises pixel values x from 0 to 255: (x / 255 − mean) / std.

    Convolutions in int8 take pixels unchanged: their weights and bias include the normalisation.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def unit(self, step: Operation) -> Tensor:
        """What a weight [K, C / groups, 1, 1] is divided by, so that it takes pixels unchanged."""
        return _of_inputs(self.std, step).float()[:, :, None, None]

    def shift(self, step: Operation, weight: Tensor) -> Tensor:
        """What the means add to each channel [K] that such a weight gives, float64."""
        return (weight.double().sum(dim=(2, 3)) * _of_inputs(self.mean, step)).sum(dim=1)

    @property
    def margin(self) -> Tensor:
        """The colour that normalises to zero, rounded to uint8 [3]."""
        means = 255 * torch.tensor(self.mean, dtype=torch.float64)
        return means.round().clamp(0, LARGEST_VALUE).to(torch.uint8)


def _of_inputs(by_colour: tuple[float, ...], step: Operation) -> Tensor:
    """255 times what each channel that is given [K] has of the colours in its group, float64."""
    values = 255 * torch.tensor(by_colour, dtype=torch.float64).reshape(step.groups, -1)
    return values.repeat_interleave(step.shape[0] // step.groups, dim=0)


class Int8Backbone(Runner):
    """Images uint8 [B, H, W, 3] to a float map [B, D, h, w]; in between all maps are uint8.

    On another device than a CPU the images come over, and the map goes back.
    """

    margin: Tensor

    def __init__(self, operations: Operations) -> None:
        super().__init__(operations.steps)
        self.grids = operations.grids
        self.layers = nn.ModuleList(Int8Layer(step.shape) for step in operations.convolutions)
        self.register_buffer("margin", torch.zeros(3, dtype=torch.uint8))  # around the image

    def forward(self, pixels: Tensor) -> Tensor:
        with torch.no_grad():
            return super().forward(pixels.cpu()).to(pixels.device)

    def taken(self, image: Tensor) -> Tensor:
        return image.permute(0, 3, 1, 2)

    def given(self, found: Tensor) -> Tensor:
        if found.is_floating_point():
            return found
        grid = self.grids[self.steps[-1].output]
        return (found.float() - grid.zero) * grid.scale

    def conv(self, step: Operation, x: Tensor, added: Tensor | None = None) -> Tensor:
        layer, given = self.layers[self.place(step)], self.grids[step.inputs[0]]
        assert isinstance(layer, Int8Layer)
        packed, scale, zeros, bias = layer.packed(step, given)
        x, padding = surrounded(x, step, self.margin, given.zero)
        whole = (step.stride, padding, step.dilation, step.groups)
        of_x, of_weight = (x, given.scale, given.zero), (packed, scale, zeros)
        attribute = "relu" if step.is_rectified else "none"
        grid = self.grids.get(step.output)
        to = (1.0, 0, torch.float32) if grid is None else (grid.scale, grid.zero, torch.uint8)
        if added is None:
            return _ONEDNN.qconv2d_pointwise(
                *of_x, *of_weight, bias, *whole, *to, attribute, [], ""
            )
        other = self.grids[step.inputs[1]]
        return _ONEDNN.qconv2d_pointwise.binary(
            *of_x,
            *of_weight,
            added.clone(memory_format=torch.channels_last),  # is written to
            bias,
            *whole,
            *to,
            other.scale,
            other.zero,
            "sum",
            1.0,
            attribute,
            [],
            "",
        )

    def max(self, step: Operation, x: Tensor) -> Tensor:
        """PyTorch's own takes no large map of uint8."""
        height, width = step.reach(*x.shape[2:])
        x = _filled_up(x, step, height, width)
        return _largest(_largest(x, 2, height, step), 3, width, step)

    def clip(self, step: Operation, x: Tensor) -> Tensor:
        grid = self.grids[step.output]
        if step.ceiling is None:
            return x.clamp(min=grid.zero)
        top = min(LARGEST_VALUE, grid.zero + round(step.ceiling / grid.scale))
        return x.clamp(grid.zero, top)

    def join(self, step: Operation, *maps: Tensor) -> Tensor:
        return torch.cat(maps, dim=1)  # all of one grid


_ONEDNN = torch.ops.onednn
Packed = tuple[Tensor, Tensor, Tensor, Tensor]


class Int8Layer(nn.Module):
    """Weights of a convolution, with a scale for each channel that it gives."""

    weight: Tensor
    scale: Tensor
    bias: Tensor

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(shape, dtype=torch.int8))
        self.register_buffer("scale", torch.ones(shape[0]))
        self.register_buffer("bias", torch.zeros(shape[0]))
        self._packed: Packed | None = None

    def packed(self, step: Operation, given: Grid) -> Packed:
        """The weights in oneDNN's layout, rearranged once, when the first images come."""
        if self._packed is None:
            _check_runs()
            weight, scale, bias = (t.cpu().contiguous() for t in self.buffers())
            whole = (step.stride, step.padding, step.dilation, step.groups)
            packed = _ONEDNN.qconv_prepack(weight, scale, given.scale, given.zero, *whole)
            self._packed = packed, scale, torch.zeros(len(scale), dtype=torch.int64), bias
        return self._packed


def with_weights(
    operations: Operations, weights: list[tuple[Tensor, Tensor, Tensor]], pixels: Pixels
) -> Int8Backbone:
    """The backbone of int8 weights, their scales, and biases of normalised images."""
    backbone = Int8Backbone(operations)
    for step, layer, tensors in zip(operations.convolutions, backbone.layers, weights, strict=True):
        assert isinstance(layer, Int8Layer)
        weight, scale, bias = (tensor.detach().cpu() for tensor in tensors)
        layer.weight.copy_(weight)
        layer.scale.copy_(scale)
        layer.bias.copy_(bias)
        if takes_image(step):
            layer.bias.copy_(bias.double() - pixels.shift(step, weight) * scale.double())
    backbone.margin.copy_(pixels.margin)
    return backbone.eval()


def takes_image(step: Operation) -> bool:
    return step.inputs[0] == IMAGE


def surrounded(x: Tensor, step: Operation, colour: Tensor, zero: float) -> tuple[Tensor, Pair]:
    """The map that a convolution takes, and how far it is still to be filled up with zeros.

    An image comes with a margin of that colour, since its zero is no number. `zero` is what means
    zero in any other map.
    """
    left, right, top, bottom = margins = step.margins(*x.shape[2:])
    if not any(margins) or not (takes_image(step) or step.drops_first):
        return x, step.padding
    if not takes_image(step):
        return F.pad(x, margins, value=zero), (0, 0)
    height, width = x.shape[2:]
    found = x.new_empty(len(x), top + height + bottom, left + width + right, len(colour))
    found[:, :top] = found[:, top + height :] = colour
    found[:, :, :left] = found[:, :, left + width :] = colour
    found[:, top : top + height, left : left + width] = x.permute(0, 2, 3, 1)
    return found.permute(0, 3, 1, 2), (0, 0)


def grid_of(lowest: float, highest: float) -> Grid:
    """The grid of numbers over this range; it contains zero, which fills the margins."""
    lowest, highest = min(0.0, lowest), max(0.0, highest)
    scale = (highest - lowest) / LARGEST_VALUE or 1.0
    return Grid(scale=scale, zero=round(-lowest / scale))


def _filled_up(x: Tensor, step: Operation, height: int, width: int) -> Tensor:
    """With margins of the least number, so that each window is whole."""
    (top, left), sizes = step.padding, []
    for length, count, kernel, stride, before in zip(
        x.shape[2:], (height, width), step.kernel, step.stride, (top, left), strict=True
    ):
        sizes.append(max(0, (count - 1) * stride + kernel - length - before))
    if not (top or left or any(sizes)):
        return x
    return F.pad(x, (left, sizes[1], top, sizes[0]))


def _largest(x: Tensor, axis: int, count: int, step: Operation) -> Tensor:
    """The largest number of each window along one axis."""
    kernel, stride = step.kernel[axis - 2], step.stride[axis - 2]
    shifted = (_every(x, axis, start, count, stride) for start in range(kernel))
    found = next(shifted)
    for other in shifted:
        found = torch.maximum(found, other)
    return found


def _every(x: Tensor, axis: int, start: int, count: int, stride: int) -> Tensor:
    chosen = slice(start, start + stride * (count - 1) + 1, stride)
    return x[:, :, chosen] if axis == 2 else x[:, :, :, chosen]


def _check_runs() -> None:
    if not hasattr(_ONEDNN, "qconv_prepack") or not torch.backends.mkldnn.is_available():
        raise UserError(
            "this PyTorch has no oneDNN, which networks in int8 run on: use a variant without"
            " int8 here, or PyTorch for x86 processors."
        )
