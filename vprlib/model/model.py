"""The whole network, from image to descriptor, and its file, which needs nothing else."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import get_args

import torch
import torch.nn.functional as F
from pydantic import TypeAdapter
from torch import Tensor, nn

from vprlib.model import backbones
from vprlib.model.heads.rows import by_rows
from vprlib.model.heads.settings import MixVPRSettings, Side
from vprlib.model.netvlad import NetVLAD
from vprlib.model.onnx.network import OnnxNetwork
from vprlib.model.onnx.settings import OnnxInput
from vprlib.model.packing import PLAIN, Form, pack, unpack
from vprlib.model.pools import build_pool, dim_out
from vprlib.model.settings import AnyPool, ComputePrecision, Pool, PoolSettings
from vprlib.model.tensor_files import read_safetensors
from vprlib.pipeline.artifacts import write_tensors
from vprlib.pipeline.params import JsonObject, UserError

FORMAT = "vprlib model 2"


@dataclass(frozen=True)
class Architecture:
    """Everything that is needed to build the network except its weights."""

    backbone: str
    cut: str  # its last layer
    pool: Pool
    clusters: int = 0  # visual words
    whitening: int | None = None  # dimensions of the network's own whitening, if it has one
    mean: tuple[float, ...] = backbones.IMAGENET_MEAN
    std: tuple[float, ...] = backbones.IMAGENET_STD
    # of a network that was changed; files of all others leave these out
    widths: backbones.Widths = field(default_factory=dict)  # by pruned layer of the backbone
    channels: int | None = None  # of its map, if it was pruned
    precision: ComputePrecision = "float32"  # of convolutions
    size: tuple[int, int] | None = None  # height and width that images are resized to, if to one
    resample: backbones.Resample = "bilinear"  # how

    @property
    def plain_pool(self) -> PoolSettings:
        """Settings of a pool of the original: NetVLAD, GeM, average or maximum."""
        assert isinstance(self.pool, PoolSettings)
        return self.pool

    @property
    def difference(self) -> str | None:
        """Why files of other systems cannot hold this network; None if they can."""
        if self.size is not None:
            return "a network that resizes its images"
        return "a network that has lost channels" if self.widths else None

    @property
    def takes_any_size(self) -> bool:
        """Whether images may have any size; MixVPR needs maps of one."""
        return self.size is not None or not isinstance(self.pool, MixVPRSettings)

    def normaliser(self) -> backbones.Normaliser:
        return backbones.Normaliser(self.mean, self.std, self.size, self.resample)


class PlaceModel(nn.Module):
    """backbone → pool → whitening, if the network has its own."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = a = architecture
        width = a.channels or backbones.channels(a.backbone, a.cut)
        self.backbone = backbones.empty_backbone(a.backbone, a.cut, a.widths, a.pool.has_token)
        self.pool = build_pool(a.pool, a.clusters, width)
        pooled = dim_out(a.pool, a.clusters, width)
        self.whitening = None
        if a.whitening is not None:
            self.whitening = nn.Linear(pooled, a.whitening).requires_grad_(False)
        self.dim = a.whitening or pooled
        self.normalise = a.normaliser()
        self.eval()

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @property
    def netvlad(self) -> NetVLAD:
        """The pool of a network with visual words."""
        assert isinstance(self.pool, NetVLAD)
        return self.pool

    @property
    def precision(self) -> ComputePrecision:
        """The precision that the network itself asks for."""
        return self.architecture.precision

    @property
    def own_precision(self) -> str | None:
        """What it computes in whatever is asked for; None if it does as asked."""
        return None if self.precision == "float32" else self.precision

    @property
    def versions(self) -> dict[str, str]:
        """What its rounding depends on besides PyTorch and the processor."""
        return {}

    def forward(self, pixels: Tensor) -> Tensor:
        """Images uint8 [B, H, W, 3] to unit vectors [B, dim]."""
        return self.described(self.backbone(self.normalise(pixels)))

    def described(self, maps: Tensor) -> Tensor:
        """Feature maps [B, D, H, W] to unit vectors [B, dim], always in float32."""
        with torch.autocast(maps.device.type, enabled=False):
            pooled = self.pool(maps.float())
            if self.whitening is None:
                return pooled
            return F.normalize(by_rows(self.whitening, pooled), dim=1)


def write_model(
    path: Path, model: PlaceModel, history: Mapping[str, object], form: Form = PLAIN
) -> None:
    """`history` tells where the weights come from; it is read by people and by conversion."""
    packed, shapes = pack(model.state_dict(), form)
    a = model.architecture
    header = {"format": FORMAT, "history": dict(history)}
    header |= {name: getattr(a, name) for name in _FIRST} | {"pool": a.pool.model_dump()}
    # later fields that have their default are left out, as in older files
    header |= {name: getattr(a, name) for name in _LATER if getattr(a, name) != _LATER[name]}
    write_tensors(path, packed, header | ({"shapes": shapes} if shapes else {}))


def write_onnx(path: Path, network: OnnxNetwork, history: Mapping[str, object]) -> None:
    """The file of a network in ONNX: what it was, and how it takes images."""
    content = torch.frombuffer(bytearray(network.content), dtype=torch.uint8)
    header = {"format": FORMAT, "history": dict(history), "onnx": network.takes.model_dump()}
    write_tensors(path, {"onnx": content}, header)


def read_variant(path: Path) -> PlaceModel | OnnxNetwork:
    """A network to describe with, whatever runs it."""
    header, tensors = _read(path)
    if "onnx" not in header:
        return _built(path, header, tensors)
    try:
        takes = OnnxInput.model_validate(header["onnx"])
        content = tensors["onnx"].numpy().tobytes()
    except (ValueError, KeyError) as error:
        why = " ".join(str(error).split())[:200]
        raise UserError(f"{path}: header and tensors disagree ({why}): make it again.") from None
    return OnnxNetwork(content, takes, str(path))


def read_model(path: Path) -> PlaceModel:
    """A network that can also be trained, changed and written in other forms."""
    header, tensors = _read(path)
    if "onnx" in header:
        raise UserError(
            f"{path} is a network in ONNX, as int8 is, which can only be described with: it cannot"
            " be trained, made smaller or converted; use the network that it was made from."
        )
    return _built(path, header, tensors)


def _built(path: Path, header: JsonObject, tensors: Mapping[str, Tensor]) -> PlaceModel:
    try:
        architecture = _from_header(header)
        whole = unpack(tensors, header.get("shapes", {}))
        _check_sizes(architecture, whole)
        model = PlaceModel(architecture)
        model.load_state_dict(whole)
    except UserError:
        raise
    except Exception as error:  # a header from elsewhere may hold anything
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path}: header and tensors disagree ({reason}): make it again.") from None
    return model


def read_history(path: Path) -> JsonObject:
    """The `history` that was given to `write_model`."""
    history = _read(path)[0].get("history")
    return history if isinstance(history, dict) else {}


def _read(path: Path) -> tuple[JsonObject, dict[str, Tensor]]:
    """Header and tensors as stored."""
    from safetensors import SafetensorError

    try:
        metadata, tensors = read_safetensors(path)
        header = json.loads(metadata.get("header", "{}"))
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is not a model file of vprlib ({error}): make it again.") from None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise UserError(f"{path} is not a '{FORMAT}' file: make it again with `dvc repro`.")
    return header, tensors


def _check_sizes(a: Architecture, tensors: Mapping[str, Tensor]) -> None:
    """Holds the sizes in a header against the tensors before so much memory is taken."""
    width = a.channels or backbones.channels(a.backbone, a.cut)
    with torch.device("meta"):
        parts: dict[str, nn.Module] = {"pool": build_pool(a.pool, a.clusters, width)}
        if a.whitening is not None:
            parts["whitening"] = nn.Linear(dim_out(a.pool, a.clusters, width), a.whitening)
        backbone = backbones.bare_backbone(a.backbone, a.cut, a.widths, a.pool.has_token)
        parts["backbone"] = backbone
    for part, module in parts.items():
        for name, tensor in module.state_dict(prefix=f"{part}.").items():
            found = tensors.get(name)
            if found is None or found.shape != tensor.shape:
                here = "nothing" if found is None else list(found.shape)
                raise ValueError(f"{name} should be {list(tensor.shape)}, but is {here}")


def _from_header(header: JsonObject) -> Architecture:
    fields: JsonObject = {name: header[name] for name in _FIRST}
    fields |= {name: tuple(fields[name]) for name in ("mean", "std")}
    fields["pool"] = TypeAdapter(AnyPool).validate_python(fields["pool"])
    fields |= {name: header[name] for name in _LATER if name in header}
    if "widths" in fields:
        fields["widths"] = {name: tuple(width) for name, width in fields["widths"].items()}
    if fields.get("size") is not None:
        fields["size"] = TypeAdapter(tuple[Side, Side]).validate_python(fields["size"])
    if fields.get("resample", "bilinear") not in get_args(backbones.Resample):
        raise ValueError(f"the way to resize {fields['resample']} is unknown")
    if fields.get("precision", "float32") not in get_args(ComputePrecision):
        raise ValueError(f"the precision {fields['precision']} is unknown")
    return Architecture(**fields)


_LATER: JsonObject = {"widths": {}, "channels": None, "precision": "float32"}
_LATER |= {"size": None, "resample": "bilinear"}
_FIRST = [f.name for f in fields(Architecture) if f.name not in _LATER]
