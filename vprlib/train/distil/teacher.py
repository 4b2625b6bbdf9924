"""The network that a student learns from, and the images that it learns on."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from vprlib.images.index import ImageIndex
from vprlib.model.model import PlaceModel, read_variant
from vprlib.model.onnx.network import OnnxNetwork
from vprlib.pipeline import paths
from vprlib.pipeline.cache import digest
from vprlib.pipeline.params import UserError


@dataclass(frozen=True)
class Teacher:
    name: str
    network: PlaceModel | OnnxNetwork
    digest: str  # of its file

    @classmethod
    def read(cls, name: str) -> Self:
        path = paths.existing(paths.model(name))
        return cls(name, read_variant(path), digest(path))


@dataclass(frozen=True)
class TaughtImages:
    """Rows of the database come first, and then, if they are learnt from too, the queries."""

    teacher: Teacher
    rows: np.ndarray  # of the images that can be read
    database_size: int
    size: int  # all images, those that cannot be read as well

    def source_of(self, row: int) -> tuple[str, int]:
        """Which source an image belongs to, by the names of TrainingData.sources, and its row."""
        if row < self.database_size:
            return "database", row
        return "queries", row - self.database_size

    def by_source(self) -> dict[str, np.ndarray]:
        """The rows of each source that is learnt from."""
        is_database = self.rows < self.database_size
        found = {"database": self.rows[is_database]}
        if self.size > self.database_size:
            found["queries"] = self.rows[~is_database] - self.database_size
        return found

    def counts(self) -> dict[str, int]:
        return {"images": len(self.rows), "images_unread": self.size - len(self.rows)}


def taught_images(
    teacher: Teacher, database: ImageIndex, queries: ImageIndex | None
) -> TaughtImages:
    """An error if there is nothing to compare: positions and labels are not looked at."""
    indices = [database] if queries is None else [database, queries]
    rows = np.flatnonzero(np.concatenate([index.digests for index in indices]) >= 0)
    if len(rows) < 2:
        raise UserError(
            f"{database.set_name} has {len(rows)} images that can be read, but a student needs at"
            " least two to learn from: add some to the training set."
        )
    return TaughtImages(teacher, rows, len(database), sum(map(len, indices)))
