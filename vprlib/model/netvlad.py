"""The NetVLAD layer and its two initialisations (Arandjelović et al., CVPR 2016)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vprlib.model.heads.settings import Version

# the nearest word weighs 100 times the second: exp(α · gap) = 100
LOG_RATIO = -math.log(0.01)


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
        return F.normalize(self.residuals(features).flatten(1), dim=1)

    def residuals(self, features: Tensor) -> Tensor:
        """The sum of each cluster's residuals [B, K, D], of unit length where that is wanted.

        Eq. 4 of the paper, factored: Σ a (x − c) = A Xᵀ − (Σ a) c, so that no residual is stored.
        Normalised features are not stored either: their lengths go into A and into the scores.
        """
        x = features.flatten(2).transpose(1, 2)  # B N D, a view of channels-last maps
        scale = x.new_ones(1, 1, 1)
        if self.normalise_input:
            scale = torch.linalg.vector_norm(x, dim=2, keepdim=True).clamp_min(1e-12).reciprocal()
        scores = x @ self.conv.weight.flatten(1).T * scale  # B N K
        a = (scores if self.conv.bias is None else scores + self.conv.bias).softmax(dim=2)
        vlad = (a * scale).transpose(1, 2) @ x - a.sum(dim=1)[:, :, None] * self.centroids  # B K D
        return F.normalize(vlad, dim=2) if self.intra_normalise else vlad


@torch.no_grad()
def initialise(layer: NetVLAD, centroids: Tensor, sample: Tensor) -> float:
    """Sets the layer from k-means centroids [K, D] and local descriptors [n, D]; gives α."""
    if layer.conv.bias is None:
        alpha = alpha_v1(centroids, sample)
        weight = alpha * F.normalize(centroids, dim=1)
    else:
        alpha = alpha_v2(centroids, sample)
        weight = 2 * alpha * centroids
        layer.conv.bias.copy_(-alpha * centroids.square().sum(dim=1))
    layer.conv.weight.copy_(weight[:, :, None, None])
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
