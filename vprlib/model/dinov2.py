"""DINOv2's vision transformers (Oquab et al., 2023) as chains of blocks that give a feature map."""

import re
from collections import OrderedDict
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vprlib.model.heads.token import with_token
from vprlib.pipeline.params import UserError

if TYPE_CHECKING:
    from timm.models.vision_transformer import VisionTransformer

PATCH = 14  # pixels a side
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's
LACKS = dict.fromkeys(
    ("random", "imagenet", "packaged"),
    "needs a weights file: put {name}_pretrain.pth into data/raw/weights and set weights to that"
    " name",
)
NETWORKS = {  # our name, which is Facebook's: timm's name, channels, blocks
    f"dinov2_vit{size[0]}14{ours}": (f"vit_{size}_patch14{theirs}_dinov2", dim, blocks)
    for ours, theirs in (("", ""), ("_reg", "_reg4"))
    for size, dim, blocks in (
        ("small", 384, 12),
        ("base", 768, 12),
        ("large", 1024, 24),
        ("giant", 1536, 40),
    )
}


class Embedding(nn.Module):
    """Images to tokens [B, 1 + registers + N, D] with their positions."""

    reg_token: nn.Parameter | None
    pos_embed: nn.Parameter

    def __init__(self, whole: "VisionTransformer") -> None:
        super().__init__()
        self.patch_embed = whole.patch_embed
        assert whole.pos_embed is not None
        self.cls_token, self.pos_embed = whole.cls_token, whole.pos_embed
        self.register_parameter("reg_token", whole.reg_token)

    def forward(self, images: Tensor) -> Tensor:
        patches = self.patch_embed.proj(images)  # B D h w
        size, tokens = list(patches.shape[2:]), patches.flatten(2).transpose(1, 2)
        own = [token for token in (self.cls_token, self.reg_token) if token is not None]
        first = [token.expand(len(images), -1, -1) for token in own]
        # with registers, the class token's position is already part of the token
        if self.reg_token is not None:
            return torch.cat([*first, tokens + self._positions(self.pos_embed, size)], dim=1)
        own_position, others = self.pos_embed[:, :1], self.pos_embed[:, 1:]
        positions = torch.cat([own_position, self._positions(others, size)], dim=1)
        return torch.cat([*first, tokens], dim=1) + positions

    def _positions(self, learnt: Tensor, size: list[int]) -> Tensor:
        """Those of the patches [1, N, D] for another grid, interpolated as in Facebook's code.

        Networks without registers were trained with 0.1 added to the number of patches a side, and
        without antialiasing.
        """
        grid = list(self.patch_embed.grid_size)
        if size == grid:
            return learnt
        maps = learnt.transpose(1, 2).unflatten(2, grid)
        if self.reg_token is not None:
            found = F.interpolate(maps, size, mode="bicubic", antialias=True)
        else:
            scale = [(new + 0.1) / old for new, old in zip(size, grid, strict=True)]
            found = F.interpolate(maps, scale_factor=scale, mode="bicubic")
        return found.flatten(2).transpose(1, 2)


class Dinov2(nn.Sequential):
    """embedding → block0 … → norm; the tokens of the patches as a map [B, D, H/14, W/14].

    An image whose sides are no multiples of 14 is resized to the nearest ones first.
    """

    gives_token = False  # the class token, in a row of its own above the map

    def forward(self, images: Tensor) -> Tensor:
        images = _whole_patches(images)
        return _patches(super().forward(images), *_grid(images), self.gives_token)


class TokensAsMap(nn.Sequential):
    """The first children; class token and registers stand in rows of their own at the top."""

    def forward(self, images: Tensor) -> Tensor:
        images = _whole_patches(images)
        tokens, (height, width) = super().forward(images), _grid(images)
        first = tokens.shape[1] - height * width
        filled = F.pad(tokens, (0, 0, -first % width, 0))
        return filled.transpose(1, 2).unflatten(2, (-1, width))


class MapToPatches(nn.Sequential):
    """The other children, from a map as `TokensAsMap` makes it; `first` tokens are no patches."""

    def __init__(
        self, children: OrderedDict[str, nn.Module], first: int, gives_token: bool
    ) -> None:
        super().__init__(children)
        self.first, self.gives_token = first, gives_token

    def forward(self, maps: Tensor) -> Tensor:
        width = maps.shape[3]
        tokens = maps.flatten(2).transpose(1, 2)[:, -self.first % width :]
        height = (tokens.shape[1] - self.first) // width
        return _patches(super().forward(tokens), height, width, self.gives_token)


def parts(network: Dinov2, place: int) -> tuple[TokensAsMap, MapToPatches]:
    """The children before and from that place on."""
    children = list(network.named_children())
    embedding = children[0][1]
    assert isinstance(embedding, Embedding)
    registers = embedding.reg_token
    first = 1 + (0 if registers is None else registers.shape[1])
    before, after = (OrderedDict(part) for part in (children[:place], children[place:]))
    return TokensAsMap(before), MapToPatches(after, first, network.gives_token)


def _grid(images: Tensor) -> tuple[int, int]:
    """Patches down and across."""
    height, width = (max(1, round(side / PATCH)) for side in images.shape[2:])
    return height, width


def _whole_patches(images: Tensor) -> Tensor:
    size = tuple(PATCH * side for side in _grid(images))
    if tuple(images.shape[2:]) == size:
        return images
    return F.interpolate(images, size, mode="bilinear", antialias=True)


def _patches(tokens: Tensor, height: int, width: int, gives_token: bool) -> Tensor:
    """The map [B, D, h, w] of the tokens that are patches, without registers.

    The class token is dropped, or stands above the map.
    """
    maps = tokens[:, -height * width :].transpose(1, 2).unflatten(2, (height, width))
    return with_token(tokens[:, 0], maps) if gives_token else maps


def channels(name: str, cut: str) -> int:
    kept_children(name, cut)  # refuses a cut that there is not
    return NETWORKS[name][1]


def aliases(name: str) -> dict[str, str]:
    return {}


def kept_children(name: str, cut: str) -> list[str]:
    blocks = [f"block{n}" for n in range(NETWORKS[name][2])]
    if cut not in (*blocks, "norm"):
        raise UserError(
            f"params.yaml: model.backbone.cut is '{cut}', but {name} can be cut after block0 to"
            f" {blocks[-1]} and norm."
        )
    known = ["embedding", *blocks, "norm"]
    return known[: known.index(cut) + 1]


def cut_network(name: str, cut: str) -> Dinov2:
    """The chain up to the cut, on the meta device."""
    kept, whole = kept_children(name, cut), _whole(name)
    blocks = {f"block{n}": block for n, block in enumerate(whole.blocks)}
    chain = {"embedding": Embedding(whole), **blocks, "norm": whole.norm}
    return Dinov2(OrderedDict((child, chain[child]) for child in kept))


def renamed(name: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a file with Facebook's or timm's names, renamed to the names of the chain."""
    from timm.models.vision_transformer import checkpoint_filter_fn

    whole = _whole(name)
    has_registers = "register_tokens" in tensors or "reg_token" in tensors
    if has_registers != name.endswith("_reg"):
        other = name.removesuffix("_reg") if name.endswith("_reg") else f"{name}_reg"
        raise UserError(
            f"the weights for {name} have {'' if has_registers else 'no '}registers:"
            f" set model.backbone.name to {other}, or take another file."
        )
    try:
        tensors = checkpoint_filter_fn(dict(tensors), whole)
    except (KeyError, RuntimeError):  # it is no DINOv2 at all
        return {}
    first = re.compile(r"^(?=cls_token|pos_embed|reg_token|patch_embed)")
    return {
        first.sub("embedding.", re.sub(r"^blocks\.(\d+)\.", r"block\1.", key)): tensor
        for key, tensor in tensors.items()
    }


def _whole(name: str) -> "VisionTransformer":
    """timm's network, without allocating its weights."""
    try:
        import timm
        from timm.models.vision_transformer import VisionTransformer
    except ImportError:
        raise UserError(
            f"params.yaml: model.backbone.name is '{name}', which needs timm:"
            " run `pip install timm`."
        ) from None
    with torch.device("meta"):
        network = timm.create_model(NETWORKS[name][0], num_classes=0).eval()
    assert isinstance(network, VisionTransformer)
    return network
