"""The NetVLAD layer and its two initialisations (Arandjelović et al., CVPR 2016)."""

import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vprlib.model.settings import Version

# the nearest word weighs 100 times the second: exp(α · gap) = 100
LOG_RATIO = -math.log(0.01)
TOGETHER_BYTES = 2**20  # of local features that stay in a processor's cache


class NetVLAD(nn.Module):
    """Soft-assigned residuals to K centroids; v2 has a bias in the assignment, v1 has none."""

    def __init__(
        self,
        clusters: int,
        dim: int,
        version: Version,
        normalise_input: bool = True,
        intra_normalise: bool = True,
    ) -> None:
        super().__init__()
        self.normalise_input, self.intra_normalise = normalise_input, intra_normalise
        self.conv = nn.Conv2d(dim, clusters, kernel_size=1, bias=version == "v2")
        self.centroids = nn.Parameter(torch.zeros(clusters, dim))

    def forward(self, features: Tensor) -> Tensor:
        """Local features [B, D, H, W] to unit vectors [B, K·D], cluster-major."""
        x = features.flatten(2).transpose(1, 2)  # B N D, a view of channels-last maps
        weight, bias = self.conv.weight.flatten(1), self.conv.bias
        given = (x, weight, bias, self.centroids, self.normalise_input)
        vlad = Residuals.apply(*given) if torch.is_grad_enabled() else _residuals(*given)[0]
        vlad = _unit(vlad, dim=2) if self.intra_normalise else vlad
        return _unit(vlad.flatten(1), dim=1)


class Residuals(torch.autograd.Function):
    """Σ a (x − c) of each word [B, K, D] by eq. 4 factored: A Xᵀ − (Σ a) c; backward by hand.

    A CPU multiplies image by image: memory stays near that of the input, and an image's bytes do
    not depend on the images beside it. A GPU takes all at once.
    """

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        centroids: Tensor,
        is_normalised: bool,
    ) -> Tensor:
        vlad, cosines = _residuals(x, weight, bias, centroids, is_normalised)
        ctx.is_normalised, ctx.has_bias = is_normalised, bias is not None
        ctx.save_for_backward(x, weight, bias, centroids, cosines)
        return vlad

    @staticmethod
    def backward(
        ctx: torch.autograd.function.FunctionCtx, gradient: Tensor
    ) -> tuple[Tensor | None, ...]:
        x, weight, bias, centroids, cosines = ctx.saved_tensors
        to_x = torch.empty_like(x)
        to_weight, to_centroids = torch.zeros_like(weight), torch.zeros_like(centroids)
        to_bias = weight.new_zeros(len(weight))
        for part, slope, cosine, out in zip(*map(_few, (x, gradient, cosines, to_x)), strict=True):
            scale, a = _scale(part, ctx.is_normalised), _softmax(cosine, bias)
            along = (part @ slope.transpose(1, 2)) * scale  # b N K: x̂ · ∂V
            to_a = along - (slope * centroids).sum(dim=2)[:, None]
            to_score = a * (to_a - (a * to_a).sum(dim=2, keepdim=True))
            both = torch.cat([to_score, a], dim=2) * scale
            out.copy_(both @ torch.cat([weight.expand_as(slope), slope], dim=1))
            if ctx.is_normalised:  # less what points along x
                radial = (to_score * cosine + a * along).sum(dim=2, keepdim=True)
                out.addcmul_(part, radial * scale.square(), value=-1)
            to_weight += ((to_score * scale).transpose(1, 2) @ part).sum(dim=0)
            to_bias += to_score.sum(dim=(0, 1))
            to_centroids -= (a.sum(dim=1)[:, :, None] * slope).sum(dim=0)
        return to_x, to_weight, to_bias if ctx.has_bias else None, to_centroids, None


def _residuals(
    x: Tensor, weight: Tensor, bias: Tensor | None, centroids: Tensor, is_normalised: bool
) -> tuple[Tensor, Tensor]:
    """The sums [B, K, D], and the cosines [B, N, K] that assign."""
    cosines = x.new_empty(*x.shape[:2], len(weight))
    sums = x.new_empty(len(x), *centroids.shape)
    to_words = weight.T.expand(len(x), -1, -1)
    for part, to_word, cosine, out in _together(x, to_words, cosines, sums):
        scale = _scale(part, is_normalised)
        _multiply(part, to_word, cosine)
        assignment = _softmax(cosine.mul_(scale), bias)
        _multiply((assignment * scale).transpose(1, 2), part, out)
        out.sub_(assignment.sum(dim=1)[:, :, None] * centroids)
    return sums, cosines


def _together(x: Tensor, *others: Tensor) -> Iterable[tuple[Tensor, ...]]:
    """Each of them in parts of as many images as a processor's cache holds of x."""
    count = max(1, TOGETHER_BYTES // (4 * x[0].numel()))
    if x.is_cuda or len(x) <= count:
        return [(x, *others)]
    return zip(*(tensor.split(count) for tensor in (x, *others)), strict=True)


def _multiply(first: Tensor, second: Tensor, out: Tensor) -> None:
    """Matrices [b, …] by such; on a CPU one after the other: see `Residuals`."""
    if first.is_cuda or len(first) == 1:
        torch.bmm(first, second, out=out)
        return
    for one, other, product in zip(first, second, out, strict=True):
        torch.mm(one, other, out=product)


def _few(x: Tensor) -> tuple[Tensor, ...]:
    return (x,) if x.is_cuda else x.split(1)


def _scale(x: Tensor, is_normalised: bool) -> Tensor:
    """What makes each local feature a unit vector, [b, N, 1]."""
    if not is_normalised:
        return x.new_ones(1, 1, 1)
    return torch.linalg.vector_norm(x, dim=2, keepdim=True).clamp(min=1e-12).reciprocal()


def _unit(x: Tensor, dim: int) -> Tensor:
    """As PyTorch's `normalize`, in fewer calls: for one small image these are what takes time."""
    return x / torch.linalg.vector_norm(x, dim=dim, keepdim=True).clamp_min(1e-12)


def _softmax(cosine: Tensor, bias: Tensor | None) -> Tensor:
    return (cosine if bias is None else cosine + bias).softmax(dim=2)


@torch.no_grad()
def initialise(layer: NetVLAD, centroids: Tensor, sample: Tensor) -> float:
    """Sets the layer from k-means centroids [K, D] and local descriptors [n, D]; gives α."""
    has_bias = layer.conv.bias is not None
    alpha = alpha_v2(centroids, sample) if has_bias else alpha_v1(centroids, sample)
    weight = 2 * alpha * centroids if has_bias else alpha * F.normalize(centroids, dim=1)
    layer.conv.weight.copy_(weight[:, :, None, None])
    if has_bias:
        layer.conv.bias.copy_(-alpha * centroids.square().sum(dim=1))
    layer.centroids.copy_(centroids)
    return alpha


def alpha_v1(centroids: Tensor, sample: Tensor) -> float:
    """From the mean gap between the two largest cosines of a descriptor to a centroid."""
    cosines = sample @ F.normalize(centroids, dim=1).T  # n K
    top = cosines.topk(min(2, len(centroids)), dim=1).values
    return _alpha(top[:, 0] - top[:, -1])


def alpha_v2(centroids: Tensor, sample: Tensor) -> float:
    """From the mean gap between a descriptor's two smallest squared distances to a centroid."""
    squared = torch.cdist(sample.double(), centroids.double()).square()  # n K
    nearest = squared.topk(min(2, len(centroids)), dim=1, largest=False).values
    return _alpha(nearest[:, -1] - nearest[:, 0])


def _alpha(gaps: Tensor) -> float:
    """α; with a single centroid, or all at equal distances, there is no gap and α is 1."""
    gap = gaps.double().mean().item()
    return LOG_RATIO / gap if gap > 0 else 1.0
