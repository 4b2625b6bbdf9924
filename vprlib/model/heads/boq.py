"""Bag of learnt queries (Ali-bey et al., CVPR 2024): each query looks at all positions."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vprlib.model.heads.settings import BoQSettings


def attend(layer: nn.MultiheadAttention, queries: Tensor, keys: Tensor) -> Tensor:
    """Softmax(Q Kᵀ / √d) V of each head, [B, Q, D] and [B, N, D] to [B, Q, D].

    Written out, since PyTorch computes the layer in two ways that differ in the last bits.
    """
    weights, biases = layer.in_proj_weight.chunk(3), layer.in_proj_bias.chunk(3)
    q, k, v = (
        F.linear(x, w, b).unflatten(2, (layer.num_heads, -1)).transpose(1, 2)
        for x, w, b in zip((queries, keys, keys), weights, biases, strict=True)
    )
    return layer.out_proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Encoder(nn.Module):
    """A layer of a transformer, normalised after each of its halves."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.first, self.second = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(x + attend(self.attention, x, x))
        return self.norm2(x + self.second(F.relu(self.first(x))))


class Queries(nn.Module):
    """One block: positions look at each other, queries at each other, then at the positions."""

    def __init__(self, dim: int, count: int, heads: int) -> None:
        super().__init__()
        self.encoder = Encoder(dim, heads)
        self.queries = nn.Parameter(torch.randn(1, count, dim))
        self.own, self.cross = (
            nn.MultiheadAttention(dim, heads, batch_first=True) for _ in range(2)
        )
        self.norm, self.norm_out = nn.LayerNorm(dim), nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Positions [B, N, D] to positions again, and what the queries found [B, Q, D]."""
        x = self.encoder(x)
        q = self.norm(self.queries + attend(self.own, self.queries, self.queries))
        found = attend(self.cross, q.expand(len(x), -1, -1), x)
        return x, self.norm_out(found)


class BoQ(nn.Module):
    """Convolution 3×3 → blocks of queries → fewer rows → L2."""

    def __init__(self, settings: BoQSettings, channels: int) -> None:
        super().__init__()
        dim, count, blocks = settings.channels, settings.queries, settings.blocks
        self.conv = nn.Conv2d(channels, dim, kernel_size=3, padding=1)
        self.norm = nn.LayerNorm(dim)
        self.blocks = nn.ModuleList(Queries(dim, count, settings.heads) for _ in range(blocks))
        self.rows = nn.Linear(blocks * count, settings.rows)

    def forward(self, features: Tensor) -> Tensor:
        """[B, D, H, W] to unit vectors [B, channels·rows], channel-major."""
        x = self.norm(self.conv(features).flatten(2).transpose(1, 2))  # B N D
        answers = []
        for block in self.blocks:
            x, found = block(x)
            answers.append(found)
        queries = torch.cat(answers, dim=1).transpose(1, 2)  # B D Q
        return F.normalize(self.rows(queries).flatten(1), dim=1)
