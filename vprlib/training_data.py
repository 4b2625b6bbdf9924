"""The two sets of a training run, and who may be whose positive and negative."""

from dataclasses import dataclass

import numpy as np

from vprlib.batches import ImageSource
from vprlib.index import Radii
from vprlib.mining import Candidates, candidates
from vprlib.params import UserError
from vprlib.train_settings import TrainSettings
from vprlib.truth import Listed, Truth


@dataclass(frozen=True)
class Split:
    database: ImageSource
    queries: ImageSource


@dataclass(frozen=True)
class TrainingData:
    train: Split
    candidates: Candidates
    val: Split
    val_truth: Truth


def training_data(
    train: Split,
    radii: Radii,
    val: Split,
    val_truth: Truth,
    settings: TrainSettings,
    listed: Listed | None = None,
) -> TrainingData:
    """Who may be whose positive and negative; a sentence where no query could learn anything."""
    positive_m = settings.positive_radius_m or radii.training_m
    negative_m = settings.negative_radius_m or radii.positive_m
    allowed = candidates(
        train.queries.index,
        train.database.index,
        positive_m,
        negative_m,
        settings.exclude_same_spot,
        listed,
    )
    if not len(allowed.trainable()):
        needed = f"a database image within {positive_m:g} m and one beyond {negative_m:g} m"
        if listed is not None:
            needed = "a right database image on its list and one that is on neither list"
        raise UserError(
            f"no query of {train.queries.index.set_name} can be trained on: none has both"
            f" {needed}; check the positions, or widen train.positive_radius_m."
        )
    return TrainingData(train, allowed, val, val_truth)


def epoch_blocks(queries: np.ndarray, epoch: int, settings: TrainSettings) -> list[np.ndarray]:
    """A fresh order of all queries, cut where descriptors are refreshed."""
    order = np.random.default_rng([settings.seed, epoch]).permutation(queries)
    size = settings.refresh_queries or len(order)
    return [order[start : start + size] for start in range(0, len(order), size)]
