"""Slow twins of published networks, with the names and shapes that their files have."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def unit(x: Tensor) -> Tensor:
    return x / x.norm(dim=1, keepdim=True)


class GemFC(nn.Module):
    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.add_module("1", nn.Module())
        self.get_submodule("1").p = nn.Parameter(torch.ones(1) * 2.6)
        self.add_module("3", nn.Linear(channels, out))

    def forward(self, x: Tensor) -> Tensor:
        p = self.get_submodule("1").p
        means = [(unit(x)[:, d].clamp(min=1e-6) ** p).mean((1, 2)) for d in range(x.shape[1])]
        return unit(self.get_submodule("3")(torch.stack(means, 1) ** (1 / p)))


class ConvAP(nn.Module):
    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.channel_pool = nn.Conv2d(channels, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """For maps of even sides."""
        x = self.channel_pool(x)
        h, w = x.shape[2] // 2, x.shape[3] // 2
        cells = [x[:, :, a : a + h, b : b + w].mean((2, 3)) for a in (0, h) for b in (0, w)]
        return unit(torch.stack(cells, 2).flatten(1))


class MixVPR(nn.Module):
    def __init__(self, channels: int, side: int, blocks: int, out: int, rows: int) -> None:
        super().__init__()
        n = side * side
        self.mix = nn.Sequential(*(nn.Module() for _ in range(blocks)))
        for block in self.mix:
            layers = (nn.LayerNorm(n), nn.Linear(n, n), nn.ReLU(), nn.Linear(n, n))
            block.mix = nn.Sequential(*layers)
        self.channel_proj, self.row_proj = nn.Linear(channels, out), nn.Linear(n, rows)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(2)
        for block in self.mix:
            x = x + block.mix(x)
        x = torch.einsum("bcn,oc,rn->bor", x, self.channel_proj.weight, self.row_proj.weight)
        x = x + self.channel_proj.bias[:, None] * self.row_proj.weight.sum(1)
        return unit((x + self.row_proj.bias).flatten(1))


class BoQ(nn.Module):
    """With PyTorch's own transformer layer and attention."""

    def __init__(self, channels: int, dim: int, queries: int, blocks: int, rows: int) -> None:
        super().__init__()
        heads = max(1, dim // 64)
        self.proj_c = nn.Conv2d(channels, dim, 3, padding=1)
        self.norm_input = nn.LayerNorm(dim)
        self.boqs = nn.ModuleList(nn.Module() for _ in range(blocks))
        for block in self.boqs:
            block.encoder = nn.TransformerEncoderLayer(
                dim, heads, 4 * dim, dropout=0.0, batch_first=True
            )
            block.queries = nn.Parameter(torch.randn(1, queries, dim))
            block.self_attn = nn.MultiheadAttention(dim, heads, batch_first=True)
            block.cross_attn = nn.MultiheadAttention(dim, heads, batch_first=True)
            block.norm_q, block.norm_out = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.fc = nn.Linear(blocks * queries, rows)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm_input(self.proj_c(x).flatten(2).mT)
        found = []
        for block in self.boqs:
            x = block.encoder(x)
            q = block.queries.repeat(len(x), 1, 1)
            q = block.norm_q(q + block.self_attn(q, q, q)[0])
            found.append(block.norm_out(block.cross_attn(q, x, x)[0]))
        return unit(self.fc(torch.cat(found, 1).mT).flatten(1))


def sinkhorn(scores: Tensor, dustbin: float, rounds: int) -> Tensor:
    """Of one image [K, N], by scaling rows and columns in turn; not in logarithms."""
    k, n = scores.shape
    p = torch.cat([scores, torch.full((1, n), dustbin).to(scores)]).double().exp()
    a = torch.tensor([1.0] * k + [n - k]).double() / (n + k)
    b = torch.full((n,), 1 / (n + k)).double()
    for _ in range(rounds):
        p = p * (a / p.sum(1))[:, None]
        p = p * (b / p.sum(0))
    return (p * (n + k))[:-1]


class Salad(nn.Module):
    """`linear` makes it MegaLoc's: then it is one level deeper in the file."""

    def __init__(self, channels: int, clusters: int, dim: int, token: int, hidden: int) -> None:
        super().__init__()
        self.token_features = nn.Sequential(
            nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, token)
        )
        self.cluster_features, self.score = (
            nn.Sequential(
                *(nn.Conv2d(channels, hidden, 1), nn.Dropout(0.3)),
                *(nn.ReLU(), nn.Conv2d(hidden, out, 1)),
            )
            for out in (dim, clusters)
        )
        self.dust_bin = nn.Parameter(torch.tensor(1.0))

    def forward(self, given: tuple[Tensor, Tensor]) -> Tensor:
        maps, tokens = given
        f, s = self.cluster_features(maps).flatten(2), self.score(maps).flatten(2)
        found = []
        for features, scores, token in zip(f, s, self.token_features(tokens), strict=True):
            p = sinkhorn(scores, self.dust_bin.item(), 3)
            sums = torch.zeros(len(features), len(p)).double()
            for n in range(p.shape[1]):
                sums += features[:, n, None].double() * p[None, :, n]
            sums = sums / sums.norm(dim=0)
            found.append(torch.cat([(token / token.norm()).double(), sums.flatten()]))
        return unit(torch.stack(found)).to(maps)


class WithLinear(nn.Module):
    def __init__(self, salad: Salad, inner: int, out: int) -> None:
        super().__init__()
        self.agg, self.linear = salad, nn.Linear(inner, out)

    def forward(self, given: tuple[Tensor, Tensor]) -> Tensor:
        return unit(self.linear(self.agg(given)))


class Dino(nn.Module):
    """Facebook's DINOv2, as it names its tensors; small, with attention written out."""

    def __init__(self, dim: int, blocks: int, grid: int) -> None:
        super().__init__()
        self.heads = max(1, dim // 64)
        self.cls_token = nn.Parameter(torch.randn(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.randn(1, 1 + grid * grid, dim))
        self.mask_token = nn.Parameter(torch.zeros(1, dim))
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv2d(3, dim, 14, 14)
        self.blocks = nn.ModuleList(nn.Module() for _ in range(blocks))
        for block in self.blocks:
            block.norm1, block.norm2 = nn.LayerNorm(dim, 1e-6), nn.LayerNorm(dim, 1e-6)
            block.attn, block.mlp = nn.Module(), nn.Module()
            block.attn.qkv, block.attn.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
            block.mlp.fc1, block.mlp.fc2 = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
            for name in ("ls1", "ls2"):
                scale = nn.Module()
                scale.gamma = nn.Parameter(torch.rand(dim))
                block.add_module(name, scale)
        self.norm = nn.LayerNorm(dim, 1e-6)

    def forward(self, images: Tensor, has_norm: bool) -> tuple[Tensor, Tensor]:
        """The map and the class token."""
        patches = self.patch_embed.proj(images)
        height, width = patches.shape[2:]
        x = torch.cat([self.cls_token.expand(len(images), -1, -1), patches.flatten(2).mT], 1)
        x = x + self.positions(height, width)
        for block in self.blocks:
            x = x + block.ls1.gamma * self.attention(block.attn, block.norm1(x))
            inner = F.gelu(block.mlp.fc1(block.norm2(x)))
            x = x + block.ls2.gamma * block.mlp.fc2(inner)
        x = self.norm(x) if has_norm else x
        return x[:, 1:].mT.unflatten(2, (height, width)), x[:, 0]

    def attention(self, layer: nn.Module, x: Tensor) -> Tensor:
        q, k, v = layer.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        weights = (q @ k.mT / math.sqrt(q.shape[-1])).softmax(-1)
        return layer.proj((weights @ v).transpose(1, 2).flatten(2))

    def positions(self, height: int, width: int) -> Tensor:
        own, others = self.pos_embed[:, :1], self.pos_embed[:, 1:]
        grid = math.isqrt(others.shape[1])
        maps = others.mT.unflatten(2, (grid, grid))
        down, across = bicubic(height, grid), bicubic(width, grid)
        if (height, width) != (grid, grid):
            maps = torch.einsum("hi,bdij,wj->bdhw", down, maps, across)
        return torch.cat([own, maps.flatten(2).mT], 1)


def bicubic(new: int, old: int) -> Tensor:
    """Keys' cubic convolution as a matrix [new, old], where 0.1 is added to the new number."""
    weights = torch.zeros(new, old)
    for i in range(new):
        place = (i + 0.5) * old / (new + 0.1) - 0.5
        for j in range(math.floor(place) - 1, math.floor(place) + 3):
            d = abs(place - j)
            a = -0.75  # PyTorch's choice
            near = (a + 2) * d**3 - (a + 3) * d**2 + 1
            far = a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a
            weights[i, min(max(j, 0), old - 1)] += near if d <= 1 else far if d < 2 else 0.0
    return weights


def randomised(network: nn.Module, seed: int = 1, std: float = 0.3) -> nn.Module:
    """All parameters from one generator; `1.p` and a dustbin stay, and variances are positive."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if "num_batches" in name or name.endswith(("1.p", "dust_bin")):
                continue
            drawn = torch.randn(tensor.shape, generator=generator)
            fan = max(1, tensor[:1].numel()) if tensor.ndim > 1 else 1
            value = drawn * (std if tensor.ndim < 2 else 1 / math.sqrt(fan))
            is_norm = tensor.ndim == 1 and name.endswith(("weight", "running_var"))
            tensor.copy_(value.abs() + 0.7 if is_norm else value)
    return network.eval()
