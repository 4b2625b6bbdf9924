"""The nearest database images of every query, as the search stage writes them."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import h5py
import numpy as np
from pydantic import Field

from vprlib.pipeline.artifacts import writing_hdf5
from vprlib.pipeline.params import Section
from vprlib.pipeline.stored import reading
from vprlib.search.request import Neighbors

PART = 2**22  # neighbors that are read at once


class NeighborSettings(Section):
    """The `search` section of params.yaml."""

    neighbors: Annotated[int, Field(ge=1, le=10**9)] | Literal["all"] = 100  # found for each query

    def of(self, database: int) -> int:
        return database if self.neighbors == "all" else min(self.neighbors, database)


@dataclass(frozen=True)
class Found:
    """The neighbors of all queries on disk, before a protocol takes any out."""

    rows: h5py.Dataset  # [Q, K] of the database, nearest first; -1: no more
    distances: h5py.Dataset  # [Q, K]
    failed_queries: np.ndarray  # rows of images that could not be read
    failed_database: np.ndarray
    is_exact: bool

    def parts(self) -> Iterator[tuple[slice, Neighbors]]:
        """Some queries at a time."""
        queries, columns = self.rows.shape
        size = max(1, PART // max(1, columns))
        for start in range(0, queries, size):
            part = slice(start, min(start + size, queries))
            yield part, Neighbors(self.rows[part], self.distances[part])


def write_neighbors(
    path: Path,
    parts: Iterable[tuple[slice, Neighbors]],
    shape: tuple[int, int],
    left_out: Mapping[str, np.ndarray],
    facts: Mapping[str, str | bool],
) -> None:
    with writing_hdf5(path) as file:
        rows = file.create_dataset("rows", shape, np.int64, fillvalue=-1)
        distances = file.create_dataset("distances", shape, np.float32, fillvalue=np.inf)
        for part, found in parts:
            columns = found.rows.shape[1]
            rows[part, :columns], distances[part, :columns] = found.rows, found.distances
        for name, values in left_out.items():
            file.create_dataset(name, data=values)
        file.attrs.update(facts)


@contextmanager
def opened_neighbors(path: Path) -> Iterator[Found]:
    with reading(path) as file:
        yield Found(
            file.rows("rows", "i", "Q K"),
            file.rows("distances", "f", "Q K"),
            file.array("failed_queries", "i", "F"),
            file.array("failed_database", "i", "G"),
            file.truth("is_exact"),
        )
