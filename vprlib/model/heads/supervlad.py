"""SuperVLAD (Lu et al., NeurIPS 2024): NetVLAD without centroids, with ghost clusters."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vprlib.model.heads.settings import SuperVLADSettings
from vprlib.pipeline.params import UserError


class SuperVLAD(nn.Module):
    """Sums of soft-assigned features; what is assigned to the last, ghost clusters is dropped."""

    def __init__(self, settings: SuperVLADSettings, clusters: int, channels: int) -> None:
        super().__init__()
        self.kept = clusters - settings.ghosts
        if self.kept < 1:
            raise UserError(
                f"params.yaml: kmeans.clusters is {clusters}, but SuperVLAD counts its ghosts"
                f" ({settings.ghosts}) among them: set it to {settings.ghosts + 4}, for example."
            )
        self.conv = nn.Conv2d(channels, clusters, kernel_size=1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """[B, D, H, W] to unit vectors [B, K·D], cluster-major."""
        x = F.normalize(features, dim=1).flatten(2).transpose(1, 2)  # B N D
        a = (x @ self.conv.weight.flatten(1).T).softmax(dim=2)  # B N K, with the ghosts
        vlad = F.normalize((a.transpose(1, 2) @ x)[:, : self.kept], dim=2)  # B K D
        return F.normalize(vlad.flatten(1), dim=1)

    @torch.no_grad()
    def start(self, centroids: Tensor, alpha: float) -> None:
        """From visual words [K, D] and the α that NetVLAD v1 takes from them."""
        self.conv.weight.copy_(alpha * F.normalize(centroids, dim=1)[:, :, None, None])
