"""3×3 convolutions by Winograd's minimal filtering F(4×4, 3×3), forward and backward.

A tile of 4×4 outputs takes 36 multiplications a pair of channels in place of 144 (Lavin and Gray,
CVPR 2016). All three passes are batched matrix products over blocks of tiles that fit a processor's
cache; an image's values do not depend on the images beside it. Maps lie channels-last.
"""

from collections.abc import Iterator
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

OUT = 4  # outputs of a tile a side
IN = OUT + 2  # inputs of a tile a side
TILES = 256  # a block; measured best between 160 and 320, with 256 to 512 channels
FEWEST = 8  # tiles a block: smaller matrix products take kernels that round differently

# rows of the one-dimensional transforms: Y = Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A
_B = [
    [4, 0, -5, 0, 1, 0],
    [0, -4, -4, 1, 1, 0],
    [0, 4, -4, -1, 1, 0],
    [0, -2, -1, 2, 1, 0],
    [0, 2, -1, -2, 1, 0],
    [0, 4, 0, -5, 0, 1],
]
_G = [
    [1 / 4, 0, 0],
    [-1 / 6, -1 / 6, -1 / 6],
    [-1 / 6, 1 / 6, -1 / 6],
    [1 / 24, 1 / 12, 1 / 6],
    [1 / 24, -1 / 12, 1 / 6],
    [0, 0, 1],
]
_A = [
    [1, 1, 1, 1, 1, 0],
    [0, 1, -1, 2, -2, 0],
    [0, 1, 1, 4, 4, 0],
    [0, 1, -1, 8, -8, 1],
]


class Winograd(torch.autograd.Function):
    """The convolution of a map [B, C, H, W] with a weight [K, C, 3, 3], stride 1, one zero around.

    `spectrum` is the weight's own, where it is known already.
    """

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        spectrum: Tensor | None,
    ) -> Tensor:
        spectrum = weight_spectrum(weight) if spectrum is None else spectrum
        ctx.save_for_backward(x, spectrum)
        ctx.has_bias = bias is not None
        return filtered(x, spectrum, bias)

    @staticmethod
    def backward(
        ctx: torch.autograd.function.FunctionCtx, gradient: Tensor
    ) -> tuple[Tensor | None, ...]:
        x, spectrum = ctx.saved_tensors
        wants_x, wants_weight, wants_bias, _ = ctx.needs_input_grad
        to_x, to_weight = gradients(x, gradient, spectrum if wants_x else None, wants_weight)
        to_bias = gradient.sum(dim=(0, 2, 3)) if ctx.has_bias and wants_bias else None
        return to_x, to_weight, to_bias, None


def weight_spectrum(weight: Tensor) -> Tensor:
    """G g Gᵀ of each pair of channels, [36, K, C]: as they lie in a channels-last weight."""
    k, c = weight.shape[:2]
    transform = _kronecker(_G, weight)  # 36 9
    return (transform @ weight.permute(2, 3, 0, 1).reshape(9, k * c)).view(IN * IN, k, c)


def covered(height: int, width: int) -> float:
    """The share of its tiles that a map fills; the rest is computed for nothing."""
    down, across = _tiles(height, width)
    return height * width / (OUT * OUT * down * across)


def filtered(x: Tensor, spectrum: Tensor, bias: Tensor | None) -> Tensor:
    """The map [B, K, H, W], channels-last, of `x` [B, C, H, W] and a spectrum [36, K, C]."""
    count, c, height, width = x.shape
    k = spectrum.shape[1]
    down, across = _tiles(height, width)
    into, out_of = _kronecker(_B, x), _kronecker(_A, x)
    padded = _padded(x, down, across)
    size = (count, k, OUT * down, OUT * across)
    y = torch.empty(size, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    shift = x.new_zeros(k) if bias is None else bias
    for images, rows in _blocks(count, down, across):
        tiles = _input_tiles(padded, images, rows, across).reshape(IN * IN, -1, c)
        products = torch.bmm(_transformed(into, tiles), spectrum.transpose(1, 2))  # 36 T K
        outputs = (out_of @ products.flatten(1)).view(OUT, OUT, -1, k)
        shape = (_length(images), _length(rows), across)
        outputs = outputs[:, :, : shape[0] * shape[1] * across].unflatten(2, shape)
        torch.add(
            outputs.permute(2, 3, 0, 4, 1, 5),
            shift,
            out=_output_tiles(y.permute(0, 2, 3, 1), images, rows, across),
        )
    if (height, width) == tuple(y.shape[2:]):
        return y
    return y[:, :, :height, :width].clone(memory_format=torch.channels_last)


def weight_gradient(x: Tensor, gradient: Tensor) -> Tensor:
    """The gradient [K, C, 3, 3] of the weight, where that of the map is not wanted."""
    return gradients(x, gradient, None, True)[1]


def gradients(
    x: Tensor, gradient: Tensor, spectrum: Tensor | None, wants_weight: bool
) -> tuple[Tensor | None, Tensor | None]:
    """The adjoint of `filtered`: to the map where a spectrum is given, and to the weight."""
    count, c, height, width = x.shape
    k = gradient.shape[1]
    down, across = _tiles(height, width)
    into, out_of = _kronecker(_B, x), _kronecker(_A, x).T.contiguous()
    grown = F.pad(
        gradient.permute(0, 2, 3, 1), (0, 0, 0, OUT * across - width, 0, OUT * down - height)
    )
    summed = total = None
    if spectrum is not None:  # the map's, with its border
        summed = x.new_zeros(count, OUT * down + 2, OUT * across + 2, c)
    if wants_weight:  # the spectrum's
        padded, total = _padded(x, down, across), x.new_zeros(IN * IN, k, c)
    for images, rows in _blocks(count, down, across):
        slopes = _output_tiles(grown, images, rows, across).permute(2, 4, 0, 1, 3, 5)
        left = _transformed(out_of, slopes.reshape(OUT * OUT, -1, k))  # 36 T K
        if total is not None:
            tiles = _input_tiles(padded, images, rows, across).reshape(IN * IN, -1, c)
            total.baddbmm_(left.transpose(1, 2), _transformed(into, tiles))
        if summed is not None:
            tiles = into.T @ torch.bmm(left, spectrum).flatten(1)
            _add_tiles(_input_tiles(summed, images, rows, across), tiles)
    to_x = to_weight = None
    if summed is not None:
        inner = summed[:, 1 : height + 1, 1 : width + 1].permute(0, 3, 1, 2)
        to_x = inner.contiguous(memory_format=torch.channels_last)
    if total is not None:
        taps = _kronecker(_G, x).T @ total.flatten(1)  # 9 K·C
        to_weight = taps.view(3, 3, k, c).permute(2, 3, 0, 1)
    return to_x, to_weight


def _add_tiles(target: Tensor, tiles: Tensor) -> None:
    """Adds tiles [36, T·C] to overlapping ones [6, 6, b, rows, across, C] of a map.

    Four times, each time parts of them that do not overlap.
    """
    few = tiles.view(IN, IN, -1, target.shape[-1])[:, :, : target[0, 0, ..., 0].numel()]
    few = few.unflatten(2, target.shape[2:5])
    for row, column in product((slice(0, OUT), slice(OUT, IN)), repeat=2):
        target[row, column] += few[row, column]


def _kronecker(rows: list[list[float]], like: Tensor) -> Tensor:
    """The two-dimensional transform as one matrix."""
    one = torch.tensor(rows, dtype=torch.float64)
    return torch.kron(one, one).to(like)


def _tiles(height: int, width: int) -> tuple[int, int]:
    return -(-height // OUT), -(-width // OUT)


def _padded(x: Tensor, down: int, across: int) -> Tensor:
    """[B, H, W, C] with one zero before, and zeros behind up to whole tiles."""
    height, width = x.shape[2:]
    behind = (OUT * across + 1 - width, OUT * down + 1 - height)
    return F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, behind[0], 1, behind[1]))


def _blocks(count: int, down: int, across: int) -> Iterator[tuple[slice, slice]]:
    """Images and rows of tiles: rows of one image, or all of several small images."""
    rows = max(1, min(down, TILES // across))
    images = max(1, TILES // (down * across)) if rows == down else 1
    for image in range(0, count, images):
        for row in range(0, down, rows):
            yield (
                slice(image, min(image + images, count)),
                slice(row, min(row + rows, down)),
            )


def _length(part: slice) -> int:
    return part.stop - part.start


def _input_tiles(padded: Tensor, images: slice, rows: slice, across: int) -> Tensor:
    """Overlapping tiles [6, 6, b, rows, across, C] of a padded map, as a view."""
    b, r, x, _ = padded.stride()
    c = padded.shape[3]
    shape = (IN, IN, _length(images), _length(rows), across, c)
    start = padded.storage_offset() + images.start * b + OUT * rows.start * r
    return padded.as_strided(shape, (r, x, b, OUT * r, OUT * x, 1), start)


def _output_tiles(y: Tensor, images: slice, rows: slice, across: int) -> Tensor:
    """The same tiles of a map [B, 4·down, 4·across, K], as a view [b, rows, 4, across, 4, K]."""
    part = y[images, OUT * rows.start : OUT * rows.stop]
    return part.unflatten(2, (across, OUT)).unflatten(1, (-1, OUT))


def _transformed(matrix: Tensor, tiles: Tensor) -> Tensor:
    """[36, T, C] of tiles [n, T, C]; at least so many tiles that all blocks round alike."""
    missing = FEWEST - tiles.shape[1]
    if missing > 0:
        tiles = F.pad(tiles, (0, 0, 0, missing))
    return (matrix @ tiles.flatten(1)).view(matrix.shape[0], *tiles.shape[1:])
