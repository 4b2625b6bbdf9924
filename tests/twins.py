"""Slow twins of NetVLAD and of the PyTorch port's network, and checkpoints as it saves them."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vprlib.model.netvlad import NetVLAD

VGG16 = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512)


def vlad_looped(layer: NetVLAD, features: Tensor) -> np.ndarray:
    """The definition, position by position and cluster by cluster, in float64."""
    w = layer.conv.weight.detach().double().numpy()[:, :, 0, 0]
    b = np.zeros(len(w)) if layer.conv.bias is None else layer.conv.bias.detach().double().numpy()
    c = layer.centroids.detach().double().numpy()
    described = []
    for image in features.double().flatten(2).numpy():
        vlad = np.zeros(c.shape)
        for x in image.T:
            x = x / np.linalg.norm(x) if layer.normalise_input else x
            a = np.exp(w @ x + b) / np.exp(w @ x + b).sum()
            for k in range(len(c)):
                vlad[k] += a[k] * (x - c[k])
        if layer.intra_normalise:
            vlad /= np.linalg.norm(vlad, axis=1, keepdims=True)
        described.append(vlad.ravel() / np.linalg.norm(vlad))
    return np.array(described)


class TwinVLAD(nn.Module):
    """Cluster after cluster, as REFERENCE §3 defines it."""

    def __init__(self, clusters: int, dim: int, vladv2: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim, clusters, 1, bias=vladv2)
        self.centroids = nn.Parameter(torch.rand(clusters, dim) / dim**0.5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.normalize(x, dim=1)
        assignment = self.conv(x).flatten(2).softmax(dim=1)
        flat = x.flatten(2)
        clusters = []
        for k, centroid in enumerate(self.centroids):
            residual = flat - centroid[None, :, None]
            clusters.append((residual * assignment[:, k : k + 1]).sum(dim=2))
        vlad = F.normalize(torch.stack(clusters, dim=1), dim=2)
        return F.normalize(vlad.flatten(1), dim=1)


def chain(widths: tuple[int, ...]) -> nn.Sequential:
    """VGG16's layers: 3×3 convolutions of these widths; 0 is a pooling."""
    layers, width = [], 3
    for out in widths:
        layers += [nn.Conv2d(width, out, 3, padding=1), nn.ReLU()] if out else [nn.MaxPool2d(2, 2)]
        width = out or width
    return nn.Sequential(*layers[:-1])


def encoder(arch: str) -> nn.Sequential:
    if arch == "alexnet":
        return nn.Sequential(
            *(nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2)),
            *(nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
            *(nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
            nn.Conv2d(256, 256, 3, padding=1),
        )
    return chain(VGG16)


def twin(arch: str, clusters: int, vladv2: bool) -> nn.Module:
    torch.manual_seed(clusters)
    model = nn.Module()
    model.add_module("encoder", encoder(arch))
    for conv in model.encoder:
        if isinstance(conv, nn.Conv2d):
            nn.init.kaiming_normal_(conv.weight)
    model.add_module("pool", TwinVLAD(clusters, 512 if arch == "vgg16" else 256, vladv2))
    return model


def checkpoint(model: nn.Module, is_parallel: bool = False, **changes: object) -> dict:
    if is_parallel:
        model.encoder, model.pool = nn.DataParallel(model.encoder), nn.DataParallel(model.pool)
    learning = [p for p in model.parameters() if p.requires_grad]
    content = {
        "epoch": 12,
        "state_dict": model.state_dict(),
        "recalls": {1: np.float64(0.841), 5: np.float64(0.946)},
        "best_score": np.float64(0.946),
        "optimizer": torch.optim.SGD(learning, lr=1e-4, momentum=0.9).state_dict(),
        "parallel": is_parallel,
    }
    return content | changes
