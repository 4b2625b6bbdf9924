"""SALAD (Izquierdo and Civera, CVPR 2024): patches are assigned to clusters by optimal transport.

With one more linear layer it is the head of MegaLoc (Berton and Masone, 2025).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vprlib.model.heads.rows import by_rows
from vprlib.model.heads.settings import SaladSettings
from vprlib.model.heads.token import without_token
from vprlib.pipeline.params import UserError

ROUNDS = 3  # of Sinkhorn's algorithm


def transport(scores: Tensor, dustbin: Tensor, rounds: int = ROUNDS) -> Tensor:
    """Scores [B, K, N] to the share of each patch that each cluster gets; the dustbin is dropped.

    Sinkhorn's algorithm in logarithms. Each cluster has the mass 1, the dustbin N − K and each
    patch 1, all of them divided by N + K inside and multiplied by it again at the end.
    """
    batch, clusters, patches = scores.shape
    if patches <= clusters:
        raise UserError(
            f"SALAD needs more than {clusters} patches, one for each of its clusters, but the"
            f" images have {patches}: make them larger with the data set's images.resize."
        )
    m = torch.cat([scores, dustbin.expand(batch, 1, patches)], dim=1)
    each = scores.new_ones(patches)
    total = (each.sum() + clusters).log()
    bin_mass = (each.sum() - clusters).log()
    log_a = torch.cat([scores.new_zeros(clusters), bin_mass[None]]) - total  # K + 1
    log_b = each.log() - total  # N
    v = torch.zeros_like(m[:, 0])  # B N
    for _ in range(rounds):
        u = log_a - (m + v[:, None]).logsumexp(dim=2)  # B K+1
        v = log_b - (m + u[:, :, None]).logsumexp(dim=1)
    return (m + u[:, :, None] + v[:, None] + total).exp()[:, :-1]


class Salad(nn.Module):
    """The sum over patches of each cluster, beside the class token."""

    def __init__(self, settings: SaladSettings, channels: int) -> None:
        super().__init__()
        s = settings
        self.local, self.score = (
            nn.Sequential(
                nn.Conv2d(channels, s.hidden, kernel_size=1),
                nn.Dropout(s.dropout),
                nn.ReLU(),
                nn.Conv2d(s.hidden, out, kernel_size=1),
            )
            for out in (s.channels, s.clusters)
        )
        self.scene = nn.Sequential(
            nn.Linear(channels, s.hidden), nn.ReLU(), nn.Linear(s.hidden, s.token)
        )
        self.dustbin = nn.Parameter(torch.tensor(1.0))
        self.linear = None if s.linear is None else nn.Linear(s.inner, s.linear)

    def forward(self, features: Tensor) -> Tensor:
        """A map with the class token [B, D, 1 + H, W] to unit vectors: token, then cluster sums.

        The sums are flattened with the channel as the slow axis.
        """
        token, patches = without_token(features)
        f = self.local(patches).flatten(2)  # B L N
        p = transport(self.score(patches).flatten(2), self.dustbin)  # B K N
        sums = F.normalize(f @ p.transpose(1, 2), dim=1)  # B L K
        scene = F.normalize(by_rows(self.scene, token), dim=1)
        x = F.normalize(torch.cat([scene, sums.flatten(1)], dim=1), dim=1)
        return x if self.linear is None else F.normalize(by_rows(self.linear, x), dim=1)
