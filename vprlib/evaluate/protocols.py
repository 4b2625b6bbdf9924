"""Recall protocols: what is taken out of the nearest images before anything is counted."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from vprlib.descriptors.rows import Rows
from vprlib.evaluate.recall import Protocol, RecallSettings, Result, evaluate, named
from vprlib.images.index import ImageIndex
from vprlib.pipeline.params import UserError
from vprlib.pipeline.runtime import RuntimeSettings
from vprlib.places.geo import Pairs
from vprlib.places.truth import Near, Truth, is_right, recall_at
from vprlib.search.hamming import search_parts
from vprlib.search.request import Neighbors, Searcher, SearchRequest

TILES = 12  # consecutive database images of Tokyo 24/7 are one panorama
LIGHTS = ("day", "sunset", "night")  # its queries come in this order, over and over
TIMES_AS_MANY = 10  # are searched where those of the query's own time are to be dropped


@dataclass(frozen=True)
class AnotherTime:
    """What is near, and not of the query's own time stamp: that is neither right nor wrong."""

    near: Near
    query_times: np.ndarray  # [Q]
    database_times: np.ndarray  # [D]

    def is_right(self, rows: np.ndarray) -> np.ndarray:
        return self.near.is_right(rows) & ~self.is_doubtful(rows)

    def is_doubtful(self, rows: np.ndarray) -> np.ndarray:
        return self.database_times[rows] == self.query_times[:, None]

    def counts(self) -> np.ndarray:
        return self.positives().counts()

    def positives(self) -> Pairs:
        pairs = self.near.positives()
        differ = self.database_times[pairs.rows] != self.query_times[pairs.queries()]
        return pairs.keep(differ)

    def no_negatives(self) -> Pairs:
        return self.near.positives()

    def take(self, queries: np.ndarray | slice) -> Self:
        times = self.query_times[queries]
        return replace(self, near=self.near.take(queries), query_times=times)

    @property
    def most_doubtful(self) -> int:
        times, counts = np.unique(self.database_times, return_counts=True)
        return int(counts[np.isin(times, self.query_times)].max(initial=0))

    @property
    def database_size(self) -> int:
        return self.near.database_size

    @property
    def radius_m(self) -> float:
        return self.near.radius_m


@dataclass(frozen=True)
class LeftOut:
    """Rows of images that could not be read: such a query finds nothing, and nobody the others."""

    queries: np.ndarray
    database: np.ndarray

    def counts(self) -> dict[str, int]:
        """For metrics; nothing where all were read."""
        counts = {"queries_left_out": len(self.queries), "database_left_out": len(self.database)}
        return counts if any(counts.values()) else {}


NONE_LEFT_OUT = LeftOut(np.zeros(0, np.int64), np.zeros(0, np.int64))


@dataclass(frozen=True)
class Ranking:
    """What a protocol leaves of the nearest images."""

    rows: np.ndarray  # [Q, K] of the database, nearest first; -1 where no more are left
    distances: np.ndarray  # [Q, K] infinite there
    precisions: np.ndarray | None  # [Q] average precision, `ranked` alone


def judged(protocol: Protocol, truth: Truth, database: ImageIndex, queries: ImageIndex) -> Truth:
    """The truth as the protocol sees it; a sentence where the set is not made for it."""
    if protocol == "tokyo247":
        _check_panoramas(database, queries)
    if protocol != "tokyoTM":
        return truth
    if not isinstance(truth, Near) or "time" not in database.extra or "time" not in queries.extra:
        raise UserError(
            f"protocol tokyoTM drops images of the query's own time, but {database.set_name} has no"
            f" positions with time stamps: set datasets.{database.set_name}.protocol to plain."
        )
    return AnotherTime(truth, queries.extra["time"], database.extra["time"])


def _check_panoramas(database: ImageIndex, queries: ImageIndex) -> None:
    """Twelve tiles from one position each, and queries by day, sunset and night."""
    instead = f"set datasets.{database.set_name}.protocol to plain, or mend the specification."
    if len(database) % TILES or len(queries) % len(LIGHTS):
        raise UserError(
            f"protocol tokyo247 needs panoramas of {TILES} images and queries in threes (day,"
            f" sunset, night), but {database.set_name} has {len(database)} database images and"
            f" {len(queries)} queries: {instead}"
        )
    panoramas = database.positions.reshape(-1, TILES, 2)
    apart = ~(panoramas == panoramas[:, :1]).all(axis=(1, 2))
    if apart.any():
        first = TILES * int(np.argmax(apart))
        raise UserError(
            f"protocol tokyo247 needs panoramas of {TILES} images at one position, but rows {first}"
            f" to {first + TILES - 1} of {database.set_name}'s database have several: {instead}"
        )


def depth(protocol: Protocol, columns: int, truth: Truth) -> int:
    """How many neighbours to search so that `columns` are left."""
    if protocol == "ranked":
        return truth.database_size
    if protocol == "tokyoTM":
        return TIMES_AS_MANY * columns
    tiles = TILES if protocol == "tokyo247" else 1
    return tiles * columns + truth.most_doubtful


def rank(
    protocol: Protocol,
    queries: Rows,
    database: Rows,
    truth: Truth,
    columns: int,
    runtime: RuntimeSettings,
    left_out: LeftOut = NONE_LEFT_OUT,
    search: Searcher = search_parts,
) -> Ranking:
    """Searches, takes out what the protocol does not count, and keeps the first `columns`.

    What was left out is never retrieved; `search` may be approximate.
    """
    if protocol == "ranked" and search is not search_parts:
        raise UserError(
            "protocol ranked judges the whole database in order, but an approximate index gives"
            " the nearest alone: take a code without an index."
        )
    columns = min(columns, database.shape[0] // (TILES if protocol == "tokyo247" else 1))
    count = depth(protocol, columns, truth)
    kept, precisions = [], []
    budget = runtime.memory_bytes, runtime.cores
    request = SearchRequest(queries, database, count, *budget, left_out.database)
    for part, found in search(request):
        here = truth.take(part)
        allowed = (found.rows >= 0) & ~here.is_doubtful(np.maximum(found.rows, 0))
        allowed[np.isin(np.arange(part.start, part.stop), left_out.queries)] = False
        if protocol == "tokyo247":
            allowed &= is_first(found.rows // TILES)
        if protocol == "ranked":
            rows = first(found, allowed, count).rows
            precisions.append(average_precision(is_right(rows, here), here.counts()))
        kept.append(first(found, allowed, columns))
    return Ranking(
        np.concatenate([np.zeros((0, columns), np.int64), *(found.rows for found in kept)]),
        np.concatenate([np.zeros((0, columns), np.float32), *(found.distances for found in kept)]),
        np.concatenate([np.zeros(0), *precisions]) if protocol == "ranked" else None,
    )


def is_first(labels: np.ndarray) -> np.ndarray:
    """Whether each label [Q, K] has not come before in its row."""
    order = np.argsort(labels, axis=1, kind="stable")
    sorted_labels = np.take_along_axis(labels, order, axis=1)
    is_new = np.ones(labels.shape, bool)
    is_new[:, 1:] = sorted_labels[:, 1:] != sorted_labels[:, :-1]
    found = np.empty(labels.shape, bool)
    np.put_along_axis(found, order, is_new, axis=1)
    return found


def first(found: Neighbors, allowed: np.ndarray, columns: int) -> Neighbors:
    """The first `columns` of those allowed [Q, K], in their order; -1 where there are fewer."""
    missing = ((0, 0), (0, max(0, columns - found.rows.shape[1])))
    found = Neighbors(np.pad(found.rows, missing), np.pad(found.distances, missing))
    allowed = np.pad(allowed, missing)
    order = np.argsort(~allowed, axis=1, kind="stable")[:, :columns]
    is_left = np.take_along_axis(allowed, order, axis=1)
    return Neighbors(
        np.where(is_left, np.take_along_axis(found.rows, order, axis=1), -1),
        np.where(is_left, np.take_along_axis(found.distances, order, axis=1), np.float32(np.inf)),
    )


def average_precision(right: np.ndarray, positives: np.ndarray) -> np.ndarray:
    """Area below precision over recall by the trapezoidal rule of the Oxford evaluation [Q].

    `right` [Q, D] is the whole ranking without doubtful images. Before the first image precision
    is one; a query without a positive has zero.
    """
    precision = np.cumsum(right, axis=1) / np.arange(1, right.shape[1] + 1)
    before = np.ones(right.shape)
    before[:, 1:] = precision[:, :-1]
    height = np.where(right, (before + precision) / 2, 0.0).sum(axis=1)
    return height / np.maximum(positives, 1)


def measure(
    protocol: Protocol,
    ranking: Ranking,
    truth: Truth,
    settings: RecallSettings,
    left_out: LeftOut = NONE_LEFT_OUT,
) -> Result:
    """Recall, with the protocol's name, and what it has besides: mAP, or recall by light."""
    result = evaluate(ranking.rows, truth, settings)
    radius = {} if truth.radius_m is None else {"radius_m": truth.radius_m}
    metrics = {**result.metrics, **radius, "protocol": protocol, **left_out.counts()}
    if ranking.precisions is not None:
        metrics["map"] = float(ranking.precisions[result.counted].mean())
    parts = {}
    if protocol == "tokyo247":
        for start, light in enumerate(LIGHTS):
            is_of_it = np.arange(len(result.counted)) % len(LIGHTS) == start
            parts[light] = result.counted & is_of_it
            metrics[light] = named(recall_at(result.right[parts[light]], settings.ns))
    return replace(result, metrics=metrics, parts=parts)
