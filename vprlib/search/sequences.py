"""Searches videos and drives: a query's neighbors are those of the frames around it, on average."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Self

import numpy as np
from pydantic import Field, model_validator
from threadpoolctl import threadpool_limits

from vprlib.descriptors.rows import Reader, kept_rows, squared_lengths
from vprlib.pipeline.params import Section, UserError
from vprlib.pipeline.progress import progress
from vprlib.search.exact import nearest_first
from vprlib.search.hamming import search_parts
from vprlib.search.request import (
    BYTES_PER_NEIGHBOR,
    Neighbors,
    SearchRequest,
    no_neighbors,
    vector_bytes,
)

ROWS = 1024  # of the database at once
STEPS = 41  # speeds that are tried; most give the same frames
BYTES_PER_PAIR = 64  # of a query and a row, while frames are averaged
DIGITS = 12  # of a squared distance; equal frames would differ in those beyond
Speed = Annotated[float, Field(ge=0.1, le=10)]


class SequenceSettings(Section):
    """`recall.sequence`; changing it runs `recall` alone."""

    frames: Annotated[int, Field(ge=1, le=999)] = 1  # around each query; 1: single images
    # database frames passed for each frame of the queries: slowest and fastest
    speeds: tuple[Speed, Speed] = (0.8, 1.25)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.frames % 2 == 0:
            raise ValueError(
                f"frames should be odd, since the query is the middle one; it is {self.frames}"
            )
        if self.speeds[0] > self.speeds[1]:
            raise ValueError(f"speeds should rise, but are {list(self.speeds)}")
        return self

    @property
    def steps(self) -> np.ndarray:
        """The frames of a window, counted from the query [n]."""
        return np.arange(self.frames) - self.frames // 2

    def paths(self) -> np.ndarray:
        """The different database frames that the speeds lead to, counted from a row [V, n]."""
        speeds = np.linspace(*self.speeds, STEPS)
        return np.unique(np.rint(np.outer(speeds, self.steps)).astype(np.int64), axis=0)


def by_folder(names: Sequence[str]) -> np.ndarray:
    """A label for each image [N]: a folder is a sequence, in the order of the names."""
    return np.array([name.rpartition("/")[0] for name in names], object)


@dataclass(frozen=True)
class InSequences:
    """A searcher that compares the frames around a query with those around a row.

    The squared distance of a query i and a row j is the mean of those between frames i + k and
    j + round(v k), for the speed v that makes it smallest. So similarities, 1 − distance² / 2, are
    averaged along the way. Frames beyond the end of a sequence are left out.
    """

    settings: SequenceSettings
    query_labels: np.ndarray  # [Q] consecutive queries with equal ones are a sequence
    database_labels: np.ndarray  # [N]
    failed_queries: np.ndarray  # rows of images that could not be read

    def __call__(self, request: SearchRequest) -> Iterator[tuple[slice, Neighbors]]:
        if self.settings.frames == 1:
            yield from search_parts(request)
            return
        (queries, dim), half = request.queries.shape, self.settings.frames // 2
        reach = int(np.abs(self.settings.paths()).max())
        rows = ROWS + 2 * reach
        memory = vector_bytes(request.memory_bytes) - 12 * rows * dim
        bytes_each = 12 * dim + BYTES_PER_PAIR * rows + BYTES_PER_NEIGHBOR * request.count
        size = request.queries_at_once(bytes_each, memory)
        asked, stored = Reader(request.queries, size + 2 * half), Reader(request.database, rows)
        for start in progress(range(0, queries, size), -(-queries // size), "searching", "block"):
            part = slice(start, min(start + size, queries))
            with threadpool_limits(request.threads):
                yield part, self._nearest(request, part, asked, stored, reach)

    def _nearest(
        self, request: SearchRequest, part: slice, asked: Reader, stored: Reader, reach: int
    ) -> Neighbors:
        steps, half = self.settings.steps, self.settings.frames // 2
        excluded = _some(request.excluded)
        is_asked = _is_there(self.query_labels, self.failed_queries, steps)[:, part]
        is_stored = _is_there(self.database_labels, excluded, np.arange(-reach, reach + 1))
        found = kept_rows(len(self.database_labels), excluded, request.among)
        is_found = np.zeros(len(self.database_labels), bool)
        is_found[slice(None) if found is None else found] = True
        queries = _with_margin(asked, part, half)
        count = min(request.count, len(self.database_labels))
        nearest = no_neighbors((part.stop - part.start, count))
        for start in range(0, len(is_found), ROWS):
            block = slice(start, min(start + ROWS, len(is_found)))
            if not is_found[block].any():
                continue
            between = _squared(queries, _with_margin(stored, block, reach))
            squared = self._along(between, is_asked, is_stored[:, block], reach)
            distances = np.sqrt(np.round(squared, DIGITS)).astype(np.float32)
            distances[:, ~is_found[block]] = np.inf
            order = np.argsort(distances, axis=1, kind="stable")[:, :count]
            distances = np.take_along_axis(distances, order, axis=1)
            merged = nearest_first(
                np.hstack([nearest.rows, np.where(np.isinf(distances), -1, start + order)]),
                np.hstack([nearest.distances, distances]),
                count,
            )
            nearest = Neighbors(*merged)
        return nearest

    def _along(
        self, between: np.ndarray, is_asked: np.ndarray, is_stored: np.ndarray, reach: int
    ) -> np.ndarray:
        """The smallest mean along a path [q, b]; infinite where no frame is there.

        `between` has the squared distances, with a margin on each side.
        """
        (frames, q), b = is_asked.shape, is_stored.shape[1]
        best = np.full((q, b), np.inf)
        for path in self.settings.paths():
            total, count = np.zeros((q, b)), np.zeros((q, b))
            for k, offset in zip(range(frames), path + reach, strict=True):
                is_there = np.outer(is_asked[k], is_stored[offset])
                total += between[k : k + q, offset : offset + b] * is_there
                count += is_there
            mean = np.divide(total, count, out=np.full((q, b), np.inf), where=count > 0)
            np.minimum(best, mean, out=best)
        return best


def along_folders(
    settings: SequenceSettings,
    queries: Sequence[str],
    database: Sequence[str],
    failed_queries: np.ndarray | None = None,
) -> InSequences:
    """The searcher for images by these names; an error if no folder has two in a row."""
    labels = by_folder(queries), by_folder(database)
    for side, own in zip(("queries", "database images"), labels, strict=True):
        if settings.frames > 1 and len(own) > 1 and (own[1:] != own[:-1]).all():
            raise UserError(
                f"sequences of {settings.frames} frames need images of one folder in a row, but no"
                f" two {side} in a row are in one folder: put each drive into a folder of its own,"
                " or take single frames."
            )
    return InSequences(settings, *labels, _some(failed_queries))


def _some(rows: np.ndarray | None) -> np.ndarray:
    return np.zeros(0, np.int64) if rows is None else rows


def _is_there(labels: np.ndarray, failed: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Whether so many frames on there is one of the same sequence, with a descriptor [n, N]."""
    sequence = np.zeros(len(labels), np.int64)
    sequence[1:] = np.cumsum(labels[1:] != labels[:-1])
    is_read = np.ones(len(labels), bool)
    is_read[failed] = False
    other = np.arange(len(labels)) + steps[:, None]
    is_inside = (other >= 0) & (other < len(labels))
    other = np.where(is_inside, other, 0)
    return is_inside & is_read[other] & (sequence[other] == sequence)


def _with_margin(reader: Reader, part: slice, margin: int) -> np.ndarray:
    """float64 rows of a part and so many before and after it; zeros where there are none."""
    first, last = max(0, part.start - margin), min(reader.count, part.stop + margin)
    found = np.zeros((part.stop - part.start + 2 * margin, reader.dim))
    at = first - (part.start - margin)
    vectors = reader.block(first, last)
    squared_lengths(vectors)  # refuses what is not finite
    found[at : at + len(vectors)] = vectors
    return found


def _squared(ones: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Squared distances [q, b]; in float64, |a|² + |b|² − 2 a·b is exact enough."""
    lengths = [np.einsum("nd,nd->n", rows, rows) for rows in (ones, others)]
    found = -2 * (ones @ others.T)
    found += lengths[0][:, None]
    found += lengths[1]
    return np.maximum(found, 0, out=found)
