"""The images of a training set, references and queries in one row, and where each was taken."""

from dataclasses import dataclass

import numpy as np

from vprlib.images.index import ImageIndex
from vprlib.places.geo import apart_deg


@dataclass(frozen=True)
class Shots:
    """Rows of the database come first, and then, if they are learnt from too, the queries."""

    positions: np.ndarray  # [N, 2] metres
    headings: np.ndarray  # [N] degrees, NaN where unknown
    database_size: int
    apart_m: float  # images this near each other are never negatives

    def __len__(self) -> int:
        return len(self.positions)

    def source_of(self, row: int) -> tuple[str, int]:
        """Which source an image belongs to, by the names of TrainingData.sources, and its row."""
        if row < self.database_size:
            return "database", row
        return "queries", row - self.database_size

    def are_near(
        self, rows: np.ndarray, row: int, radius_m: float, heading_deg: float | None
    ) -> np.ndarray:
        """Whether images [n] belong to the place of another one, by position and heading."""
        offsets = self.positions[rows] - self.positions[row]
        is_near = np.hypot(offsets[:, 0], offsets[:, 1]) <= radius_m
        if heading_deg is None:
            return is_near
        # an image without a heading looks in every direction
        is_turned = apart_deg(self.headings[rows], self.headings[row]) > heading_deg
        return is_near & ~is_turned

    def are_negatives(self, rows: np.ndarray) -> np.ndarray:
        """Of each pair of images [B, B]: whether they are farther apart than `apart_m`."""
        offsets = self.positions[rows][:, None] - self.positions[rows][None]
        return np.hypot(offsets[..., 0], offsets[..., 1]) > self.apart_m


def shots_of(database: ImageIndex, queries: ImageIndex | None, apart_m: float) -> Shots:
    indices = [database] if queries is None else [database, queries]
    headings = [
        index.extra.get("heading", np.full(len(index), np.nan)).astype(float) for index in indices
    ]
    positions = np.concatenate([index.positions for index in indices])
    return Shots(positions, np.concatenate(headings), len(database), apart_m)
