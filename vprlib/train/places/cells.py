"""Places as cells: squares of the ground, cut further by heading."""

from dataclasses import dataclass

import numpy as np

from vprlib.pipeline.draws import Draw, generator
from vprlib.train.places.cliques import Distances
from vprlib.train.places.shots import Shots
from vprlib.train.settings import CellSettings


@dataclass(frozen=True)
class Cells:
    cells: np.ndarray  # [N] the number of each image's cell
    size: int  # images of a place

    def usable(self) -> np.ndarray:
        """Whether each image [N] is in a cell that has enough of them."""
        return np.bincount(self.cells)[self.cells] >= self.size

    def draw(self, seed: int, epoch: int, distances: Distances | None = None) -> np.ndarray:
        """Rows [n, M]: of each cell that has enough, random images."""
        order = np.argsort(self.cells, kind="stable")
        members = np.split(order, np.cumsum(np.bincount(self.cells))[:-1])
        found = [
            generator(Draw.MEMBERS, seed, epoch, cell).choice(rows, self.size, replace=False)
            for cell, rows in enumerate(members)
            if len(rows) >= self.size
        ]
        return np.array(found, np.int64).reshape(-1, self.size)


def cells_of(shots: Shots, size: int, settings: CellSettings) -> Cells:
    """Cells are counted from the south-western corner of all images, and from north."""
    corner = shots.positions.min(axis=0, initial=np.inf)
    keys = np.floor((shots.positions - corner) / settings.cell_m)
    if settings.heading_deg is not None:
        turns = np.floor(shots.headings % 360.0 / settings.heading_deg)
        turns = np.where(np.isnan(turns), -1, turns)  # without a heading: cells of their own
        keys = np.column_stack([keys, turns])
    _, cells = np.unique(keys, axis=0, return_inverse=True)
    return Cells(cells.reshape(-1), size)
