"""The whole network, image in and descriptor out, and the file that rebuilds it by itself."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import Tensor, nn

from vprlib.artifacts import write_tensors
from vprlib.backbones import IMAGENET_MEAN, IMAGENET_STD, Normaliser, channels, empty_backbone
from vprlib.params import UserError
from vprlib.pool_settings import PoolSettings
from vprlib.pools import build_pool, dim_out

FORMAT = "vprlib model 2"


@dataclass(frozen=True)
class Architecture:
    """What is needed to build the network without its weights."""

    backbone: str
    cut: str  # its last layer
    pool: PoolSettings
    clusters: int = 0  # of NetVLAD
    whitening: int | None = None  # dimensions left by the network's own whitening, where it has one
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD


class PlaceModel(nn.Module):
    """backbone → pool → whitening, where the network brings its own."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = a = architecture
        width = channels(a.backbone, a.cut)
        self.backbone = empty_backbone(a.backbone, a.cut)
        self.pool = build_pool(a.pool, a.clusters, width)
        pooled = dim_out(a.pool, a.clusters, width)
        self.whitening = None
        if a.whitening is not None:
            self.whitening = nn.Linear(pooled, a.whitening).requires_grad_(False)
        self.dim = a.whitening or pooled
        self.normalise = Normaliser(a.mean, a.std)
        self.eval()

    def forward(self, pixels: Tensor) -> Tensor:
        """Images uint8 [B, H, W, 3] to unit vectors [B, dim]."""
        return self.described(self.backbone(self.normalise(pixels)))

    def described(self, maps: Tensor) -> Tensor:
        """What the backbone gives [B, D, H, W] to unit vectors [B, dim]; always in float32."""
        with torch.autocast(maps.device.type, enabled=False):
            pooled = self.pool(maps.float())
            return pooled if self.whitening is None else F.normalize(self.whitening(pooled), dim=1)


def write_model(path: Path, model: PlaceModel, history: Mapping[str, object]) -> None:
    """`history` says where the weights come from; it is kept for people and for conversion."""
    fields = asdict(model.architecture) | {"pool": model.architecture.pool.model_dump()}
    header = {"format": FORMAT, **fields, "history": dict(history)}
    write_tensors(path, model.state_dict(), header)


def read_model(path: Path) -> PlaceModel:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get("header", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, FileNotFoundError, json.JSONDecodeError) as error:
        raise UserError(f"{path} is no model file of vprlib ({error}): make it again.") from None
    if header.get("format") != FORMAT:
        raise UserError(f"{path} is no '{FORMAT}' file: make it again with `dvc repro`.")
    try:
        fields = {name: header[name] for name in Architecture.__dataclass_fields__}
        fields |= {name: tuple(fields[name]) for name in ("mean", "std")}
        fields["pool"] = PoolSettings(**fields["pool"])
        model = PlaceModel(Architecture(**fields))
        model.load_state_dict(tensors)
    except (KeyError, TypeError, RuntimeError, ValidationError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path}: header and tensors disagree ({reason}): make it again.") from None
    return model


def read_history(path: Path) -> dict[str, object]:
    """Where the weights of a model file come from, as `write_model` was told."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()["header"])["history"]
