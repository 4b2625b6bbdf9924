"""The MultiSimilarity loss (Wang et al., CVPR 2019) of a batch, and its miner."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vprlib.train.places.shots import Shots
from vprlib.train.settings import PlacesSettings, SimilaritySettings


@dataclass(frozen=True)
class PlaceLoss:
    """Of a batch that holds its images place by place; its terms have a pair that was mined."""

    shots: Shots
    settings: PlacesSettings

    def __call__(self, descriptors: Tensor, rows: np.ndarray) -> tuple[Tensor, int]:
        labels = np.arange(len(rows)) // self.settings.images_a_place
        is_same = labels[:, None] == labels
        pairs = (
            is_same & ~np.eye(len(labels), dtype=bool),
            ~is_same & self.shots.are_negatives(rows),
        )
        positive, negative = (torch.from_numpy(mask).to(descriptors.device) for mask in pairs)
        return similarity_loss(descriptors, positive, negative, self.settings.loss)


def similarity_loss(
    descriptors: Tensor, positive: Tensor, negative: Tensor, settings: SimilaritySettings
) -> tuple[Tensor, int]:
    """Mean loss over all images, and how many of them have a pair that the miner kept.

    Descriptors [B, D] of unit length; `positive` and `negative` say which pairs [B, B] are which.
    Of each image, (1/α) log(1 + Σ_P e^(−α(s−λ))) + (1/β) log(1 + Σ_N e^(β(s−λ))).
    """
    similar = descriptors @ descriptors.T
    positive, negative = mined(similar.detach(), positive, negative, settings.epsilon)
    s, centred = settings, similar - settings.base
    pulled = _log_of_one_and(-s.alpha * centred, positive) / s.alpha
    pushed = _log_of_one_and(s.beta * centred, negative) / s.beta
    bearing = int((positive | negative).any(dim=1).sum())
    return (pulled + pushed).mean(), bearing


def mined(
    similar: Tensor, positive: Tensor, negative: Tensor, epsilon: float
) -> tuple[Tensor, Tensor]:
    """Negatives more alike than the least alike positive less ε, and the other way round."""
    worst = similar.masked_fill(~positive, torch.inf).amin(dim=1, keepdim=True)
    nearest = similar.masked_fill(~negative, -torch.inf).amax(dim=1, keepdim=True)
    return positive & (similar - epsilon < nearest), negative & (similar + epsilon > worst)


def _log_of_one_and(values: Tensor, kept: Tensor) -> Tensor:
    """log(1 + Σ e^v) over those kept in each row."""
    some = values.masked_fill(~kept, -torch.inf)
    return torch.cat([torch.zeros_like(some[:, :1]), some], dim=1).logsumexp(dim=1)
