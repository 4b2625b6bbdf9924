"""The data of a training run: two sets, and each query's possible positives and negatives."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np

from vprlib.images.batches import ImageSource, open_source
from vprlib.images.decode import ImageSettings
from vprlib.pipeline import paths
from vprlib.pipeline.draws import Draw, generator
from vprlib.pipeline.inside import Name
from vprlib.pipeline.params import At, StageParams, UserError
from vprlib.pipeline.runtime import RuntimeSettings
from vprlib.pipeline.switches import NO_TEACHER
from vprlib.places.truth import (
    Listed,
    Radii,
    RadiusOrOwn,
    Truth,
    read_listed,
    read_radii,
    read_truth,
)
from vprlib.train.distil.teacher import TaughtImages, Teacher, taught_images
from vprlib.train.mining import Candidates, candidates
from vprlib.train.places.maker import Places, places_in
from vprlib.train.settings import (
    AnySettings,
    DistilSettings,
    PlacesSettings,
    Training,
    TrainSettings,
)


@dataclass(frozen=True)
class Split:
    database: ImageSource
    queries: ImageSource


@dataclass(frozen=True)
class SplitFiles:
    """The files of a set; its images lie in `folder` below data/raw."""

    dataset: str
    folder: str
    images: ImageSettings

    @property
    def indices(self) -> tuple[Path, Path]:
        return paths.index(self.dataset, "db"), paths.index(self.dataset, "queries")

    def open(self) -> Split:
        folder = paths.RAW / self.folder
        return Split(*(open_source(index, folder, self.images) for index in self.indices))


class TrainingParams(StageParams):
    """What `train` and `make_variant` read of the two sets, and how they train."""

    train: Annotated[Training, At("train")]
    images: Annotated[ImageSettings, At("datasets.{training}.images")]
    val_images: Annotated[ImageSettings, At("datasets.{validation}.images")]
    val_radius_m: Annotated[RadiusOrOwn, At("datasets.{validation}.radius_m")]
    folder: Annotated[Name, At("datasets.{training}.folder")]
    val_folder: Annotated[Name, At("datasets.{validation}.folder")]
    runtime: Annotated[RuntimeSettings, At("runtime")]

    @property
    def teacher_files(self) -> tuple[Path, ...]:
        """The file of the teacher, if there is one."""
        teacher = self.train.teacher
        return () if teacher == NO_TEACHER else (paths.model(teacher),)

    def files(self, training: str, validation: str) -> tuple[SplitFiles, SplitFiles]:
        train = SplitFiles(training, self.folder, self.images)
        return train, SplitFiles(validation, self.val_folder, self.val_images)


@dataclass(frozen=True)
class TrainingData:
    train: Split
    candidates: Candidates | Places | TaughtImages  # what can be learnt from
    val: Split  # with the queries used for validation
    val_truth: Truth  # of those queries

    def counts(self) -> dict[str, int]:
        """How much can be learnt from, and how much is left out."""
        if not isinstance(self.candidates, Candidates):
            return self.candidates.counts()
        trained = len(self.candidates.trainable())
        left_out = len(self.train.queries.index) - trained
        return {"queries": trained, "queries_left_out": left_out}

    def sources(self) -> dict[str, ImageSource]:
        train = {"database": self.train.database, "queries": self.train.queries}
        return train | {"val-database": self.val.database, "val-queries": self.val.queries}


def read_training_data(
    train: SplitFiles, val: SplitFiles, val_radius_m: RadiusOrOwn, settings: AnySettings
) -> TrainingData:
    learnt, asked = train.open(), val.open()
    _, queries = train.indices
    truth = read_truth(val.indices[1], asked.queries.index, asked.database.index, val_radius_m)
    listed = read_listed(queries, len(learnt.database.index))
    return training_data(learnt, read_radii(queries), asked, truth, settings, listed)


def training_data(
    train: Split,
    radii: Radii,
    val: Split,
    val_truth: Truth,
    settings: AnySettings,
    listed: Listed | None = None,
) -> TrainingData:
    """Finds what can be learnt from, by position; an error if nothing can."""
    asked = validation_queries(len(val.queries.index), settings)
    if asked is not None:
        val, val_truth = Split(val.database, val.queries.take(asked)), val_truth.take(asked)
    if isinstance(settings, DistilSettings):
        return TrainingData(train, _taught(train, settings), val, val_truth)
    positive_m = settings.positive_radius_m or radii.training_m
    negative_m = settings.negative_radius_m or radii.positive_m
    if isinstance(settings, PlacesSettings):
        is_listed, indices = listed is not None, (train.database.index, train.queries.index)
        found = places_in(*indices, positive_m, negative_m, settings, is_listed)
        return TrainingData(train, found, val, val_truth)
    train = _asking_itself(train, listed) if settings.train_queries == "database" else train
    allowed = _candidates(train, positive_m, negative_m, settings, listed)
    return TrainingData(train, allowed, val, val_truth)


def _taught(train: Split, settings: DistilSettings) -> TaughtImages:
    queries = train.queries.index if settings.train_images == "all" else None
    return taught_images(Teacher.read(settings.teacher), train.database.index, queries)


def _asking_itself(train: Split, listed: Listed | None) -> Split:
    """The database images as queries too."""
    if listed is not None:
        raise UserError(
            f"train.train_queries is 'database', but {train.queries.index.set_name} lists right"
            " images only for its queries: set it to queries, or give positions."
        )
    return Split(train.database, train.database)


def _candidates(
    train: Split,
    positive_m: float,
    negative_m: float,
    settings: TrainSettings,
    listed: Listed | None,
) -> Candidates:
    """Each query's possible positives and negatives; an error if no query has both."""
    indices, is_apart = (train.queries.index, train.database.index), settings.exclude_same_spot
    allowed = candidates(*indices, positive_m, negative_m, is_apart, listed)
    allowed = allowed.without_self() if settings.train_queries == "database" else allowed
    if not len(allowed.trainable()):
        needed = f"a database image within {positive_m:g} m and one beyond {negative_m:g} m"
        if listed is not None:
            needed = "a right database image on its list and one that is on neither list"
        raise UserError(
            f"no query of {train.queries.index.set_name} can be trained on: none has both"
            f" {needed}; check the positions, or raise train.positive_radius_m."
        )
    return allowed


def validation_queries(count: int, settings: AnySettings) -> np.ndarray | None:
    """Ascending rows of the queries used for validation, the same each epoch; None for all."""
    if settings.val_queries is None or settings.val_queries >= count:
        return None
    draw = generator(Draw.VALIDATION, settings.seed)
    return np.sort(draw.choice(count, settings.val_queries, replace=False))


def epoch_blocks(queries: np.ndarray, epoch: int, settings: TrainSettings) -> list[np.ndarray]:
    """All queries in a new random order, cut into blocks where descriptors are refreshed."""
    order = np.random.default_rng([settings.seed, epoch]).permutation(queries)
    doublings = settings.rate_steps(epoch) if settings.refresh_doubles else 0
    size = settings.refresh_queries * 2**doublings or len(order)
    return [order[start : start + size] for start in range(0, len(order), size)]
