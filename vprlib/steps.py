"""One training step: which images its tuples need, and their descriptors with gradients."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from vprlib.describe import network_output
from vprlib.mining import Tuple
from vprlib.model import PlaceModel


def database_rows(step: Sequence[Tuple]) -> np.ndarray:
    """Each database row that the step needs, once, rising."""
    return np.unique(np.concatenate([np.append(t.negatives, t.positive) for t in step]))


def triplet_places(step: Sequence[Tuple]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places of query, positive and negative of each triplet among the step's images."""
    rows = database_rows(step)
    counts = [len(t.negatives) for t in step]
    query = np.repeat(np.arange(len(step)), counts)
    positive = np.searchsorted(rows, np.repeat([t.positive for t in step], counts))
    negative = np.searchsorted(rows, np.concatenate([t.negatives for t in step]))
    return query, len(step) + positive, len(step) + negative


def describe_images(
    model: PlaceModel, pixels: Sequence[np.ndarray], device: torch.device
) -> Tensor:
    """Descriptors [B, dim] with gradients of images that may differ in size."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for place, image in enumerate(pixels):
        groups.setdefault(image.shape, []).append(place)
    stacks = (np.stack([pixels[place] for place in group]) for group in groups.values())
    vectors = [network_output(model, torch.from_numpy(stack).to(device)) for stack in stacks]
    places = np.concatenate([np.array(group) for group in groups.values()])
    return torch.cat(vectors)[torch.from_numpy(np.argsort(places)).to(device)]
