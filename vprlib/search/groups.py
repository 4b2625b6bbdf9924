"""Searches for groups of queries, each among rows of its own."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from vprlib.descriptors.quantisers import Coded
from vprlib.descriptors.rows import Rows, RowSubset
from vprlib.pipeline.progress import progress
from vprlib.search.request import Neighbors, Searcher, SearchRequest, no_neighbors

PART = 2**22  # neighbors that are held at once


@dataclass(frozen=True)
class Group:
    """Queries that are asked together, and the only database rows that they may find."""

    queries: np.ndarray
    among: np.ndarray


@dataclass(frozen=True)
class InGroups:
    """A searcher whose queries find rows of their own group; those in no group find nothing."""

    searcher: Searcher
    groups: Sequence[Group]

    def __call__(self, request: SearchRequest) -> Iterator[tuple[slice, Neighbors]]:
        queries, count = request.queries.shape[0], min(request.count, request.database.shape[0])
        size = max(1, PART // max(1, count))
        for start in range(0, queries, size):
            part = slice(start, min(start + size, queries))
            found = no_neighbors((part.stop - start, count))
            for group in progress(self.groups, len(self.groups), "searching", "group"):
                asked = np.unique(group.queries)
                asked = asked[(asked >= start) & (asked < part.stop)]
                some = replace(request, queries=_rows(request.queries, asked), among=group.among)
                for where, near in self.searcher(some) if len(asked) else ():
                    rows, columns = asked[where] - start, near.rows.shape[1]
                    found.rows[rows, :columns] = near.rows
                    found.distances[rows, :columns] = near.distances
            yield part, found


def _rows(rows: Rows, numbers: np.ndarray) -> Rows:
    """Some rows; bits stay bits."""
    if isinstance(rows, Coded):
        return Coded(RowSubset(rows.codes, numbers), rows.quantiser)
    return RowSubset(rows, numbers)


def others(query_labels: np.ndarray, database_labels: np.ndarray) -> list[Group]:
    """Queries find rows of every label but their own, such as of other sessions."""
    return [
        Group(np.flatnonzero(query_labels == label), np.flatnonzero(database_labels != label))
        for label in np.unique(query_labels)
    ]
