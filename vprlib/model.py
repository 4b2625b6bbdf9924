"""The whole network, image in and descriptor out, and the file that rebuilds it by itself."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from vprlib.artifacts import write_tensors
from vprlib.backbones import IMAGENET_MEAN, IMAGENET_STD, Normaliser, channels, empty_backbone
from vprlib.netvlad import NetVLAD, Version
from vprlib.params import UserError

FORMAT = "vprlib model 1"


@dataclass(frozen=True)
class Architecture:
    """What is needed to build the network without its weights."""

    backbone: str
    clusters: int
    version: Version
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD


class PlaceModel(nn.Module):
    """backbone → NetVLAD."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.backbone = empty_backbone(architecture.backbone)
        self.pool = NetVLAD(
            architecture.clusters, channels(architecture.backbone), architecture.version
        )
        self.normalise = Normaliser(architecture.mean, architecture.std)
        self.eval()

    @property
    def dim(self) -> int:
        return self.pool.dim_out

    def forward(self, pixels: Tensor) -> Tensor:
        """Images uint8 [B, H, W, 3] to unit vectors [B, dim]."""
        return self.pool(self.backbone(self.normalise(pixels)))


def write_model(path: Path, model: PlaceModel, history: Mapping[str, object]) -> None:
    """`history` says where the weights come from; it is kept and never read back."""
    header = {"format": FORMAT, **vars(model.architecture), "history": dict(history)}
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
        lists = {name: tuple(fields[name]) for name in ("mean", "std")}
        model = PlaceModel(Architecture(**fields | lists))
        model.load_state_dict(tensors)
    except (KeyError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path}: header and tensors disagree ({reason}): make it again.") from None
    return model
