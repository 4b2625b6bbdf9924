"""A network as plain layers, which exporters understand: no gradients by hand, no loops."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vprlib.model import PlaceModel
from vprlib.netvlad import NetVLAD
from vprlib.params import UserError


def check_exportable(model: PlaceModel, path: Path) -> None:
    """Refuses what an export would compute otherwise; lost channels and short numbers it may have.

    The operations in int8 are oneDNN's, and would come out of ONNX Runtime as others or in float.
    """
    own = "int8" if model.architecture.int8 is not None else model.precision
    if own != "float32":
        raise UserError(
            f"{path} is a network that computes in {own}, but an export computes in float32:"
            " export the variant that it was made of."
        )


class PlainNetVLAD(nn.Module):
    """The same as NetVLAD, all images of a batch at once."""

    def __init__(self, layer: NetVLAD) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, features: Tensor) -> Tensor:
        """Local features [B, D, H, W] to unit vectors [B, K·D]."""
        layer = self.layer
        x = features.flatten(2)  # B D N
        x = F.normalize(x, dim=1) if layer.normalise_input else x
        assignment = F.conv1d(x, layer.conv.weight.squeeze(3), layer.conv.bias).softmax(dim=1)
        sums = assignment @ x.transpose(1, 2)  # B K D
        vlad = sums - assignment.sum(dim=2, keepdim=True) * layer.centroids
        vlad = F.normalize(vlad, dim=2) if layer.intra_normalise else vlad
        return F.normalize(vlad.flatten(1), dim=1)


class StoredMatrix(nn.Module):
    """X Pᵀ with the numbers as they are stored, made float32 where they are used."""

    def __init__(self, arrays: Mapping[str, np.ndarray], name: str) -> None:
        super().__init__()
        self.register_buffer("numbers", torch.from_numpy(arrays[name]))
        scales = arrays.get(f"{name}_scales")
        self.register_buffer("scales", None if scales is None else torch.from_numpy(scales))

    def forward(self, x: Tensor) -> Tensor:
        floats = self.numbers.float()
        return x @ (floats if self.scales is None else floats * self.scales[:, None]).T


class PlainWhitening(nn.Module):
    """What a code does to a descriptor before any rounding, as `codes.Code.apply`."""

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.from_numpy(arrays["mean"]))
        self.projection = StoredMatrix(arrays, "projection")
        self.channels = self.width = None
        if "channels" in arrays:
            self.channels, self.width = (
                StoredMatrix(arrays, "channels"),
                arrays["channels"].shape[1],
            )

    def forward(self, descriptors: Tensor) -> Tensor:
        """[B, D] to unit vectors [B, d]."""
        x = descriptors - self.mean
        if self.channels is not None:
            x = self.channels(x.unflatten(1, (-1, self.width))).flatten(1)
        return F.normalize(self.projection(x), dim=1)


class Plain(nn.Module):
    """Images to what a code keeps of their descriptors; the weights are those of the model."""

    def __init__(self, model: PlaceModel, whitening: Mapping[str, np.ndarray]) -> None:
        super().__init__()
        self.normalise, self.backbone = model.normalise, model.backbone
        self.pool = PlainNetVLAD(model.pool) if isinstance(model.pool, NetVLAD) else model.pool
        self.own_whitening = model.whitening
        self.whitening = PlainWhitening(whitening) if whitening else None
        self.eval()

    def forward(self, pixels: Tensor) -> Tensor:
        """Images uint8 [B, H, W, 3] to unit vectors [B, dim]."""
        x = self.pool(self.backbone(self.normalise(pixels)))
        x = x if self.own_whitening is None else F.normalize(self.own_whitening(x), dim=1)
        return x if self.whitening is None else self.whitening(x)
