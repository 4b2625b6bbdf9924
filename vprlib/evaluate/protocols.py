"""Recall protocols: what is taken out of the nearest images before anything is counted."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from vprlib.descriptors.rows import Rows
from vprlib.evaluate.recall import Protocol, RecallSettings, Result, evaluate, named
from vprlib.images.index import ImageIndex
from vprlib.pipeline.json_files import damaged
from vprlib.pipeline.params import PARAMS_PATH, JsonObject, UserError
from vprlib.pipeline.runtime import RuntimeSettings
from vprlib.places.truth import Apart, Near, Truth, apart_by_session, is_right, recall_at
from vprlib.search.neighbors import Found
from vprlib.search.request import Neighbors, SearchRequest, collect
from vprlib.search.sequences import along_folders

TILES = 12  # consecutive database images of Tokyo 24/7 are one panorama
LIGHTS = ("day", "sunset", "night")  # its queries come in this order, over and over
WITHIN_M = (5, 10, 25, 50, 100)  # metres from a query to its first answer
TIMES_AS_MANY = 10  # are searched where those of the query's own time are to be dropped


@dataclass(frozen=True)
class Ranking:
    """What a protocol leaves of the nearest images."""

    rows: np.ndarray  # [Q, K] of the database, nearest first; -1 where no more are left
    distances: np.ndarray  # [Q, K] infinite there
    precisions: np.ndarray | None  # [Q] average precision, `ranked` alone
    left_out: dict[str, int] = field(default_factory=dict)  # images that could not be read


@dataclass(frozen=True)
class Asked:
    """Both sides of a set, and their descriptors."""

    queries: ImageIndex
    database: ImageIndex
    wanted: Rows  # descriptors of the queries
    stored: Rows
    runtime: RuntimeSettings


def judged(protocol: Protocol, truth: Truth, database: ImageIndex, queries: ImageIndex) -> Truth:
    """The truth as the protocol sees it; a sentence where the set is not made for it."""
    if protocol == "tokyo247":
        _check_panoramas(database, queries)
    if protocol == "sessions":
        return apart_by_session(truth, queries.extra, database.extra)
    if protocol != "tokyoTM":
        return truth
    if not isinstance(truth, Near) or "time" not in database.extra or "time" not in queries.extra:
        raise UserError(
            f"protocol tokyoTM drops images of the query's own time, but {database.set_name} has no"
            f" positions with time stamps: set datasets.{database.set_name}.protocol to plain."
        )
    times = queries.extra["time"], database.extra["time"]
    return Apart(truth.queries, truth.database, truth.radius_m, *times)


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
    if protocol == "sessions":  # the search left the query's own session out
        return columns
    tiles = TILES if protocol == "tokyo247" else 1
    return tiles * columns + truth.most_doubtful


def through_frames(
    protocol: Protocol, found: Found, truth: Truth, settings: RecallSettings, asked: Asked
) -> Found:
    """The neighbors by the frames around each query; those of single images where frames is 1."""
    if settings.sequence.frames == 1:
        return found
    place = f"{PARAMS_PATH}: recall.sequence.frames is {settings.sequence.frames}, but"
    if protocol != "plain":
        raise UserError(
            f"{place} {asked.database.set_name} has protocol {protocol}, which does not order"
            " images by time: set frames to 1, or the protocol to plain."
        )
    if not found.is_exact:
        raise UserError(
            f"{place} this code has an approximate index, which knows the nearest of single images"
            " alone: set frames to 1, or use a code without an index."
        )
    count = min(depth(protocol, settings.columns, truth), truth.database_size)
    budget = asked.runtime.memory_bytes, asked.runtime.cores
    request = SearchRequest(asked.wanted, asked.stored, count, *budget, found.failed_database)
    names = asked.queries.names, asked.database.names
    near = collect(along_folders(settings.sequence, *names, found.failed_queries), request)
    return replace(found, rows=near.rows, distances=near.distances)


def rank(protocol: Protocol, found: Found, truth: Truth, columns: int) -> Ranking:
    """Takes out of the neighbors what the protocol does not count; keeps the first `columns`."""
    if protocol == "ranked" and not found.is_exact:
        raise UserError(
            "protocol ranked needs the whole database in order, but an approximate index gives"
            " only the nearest: use a code without an index."
        )
    there = truth.database_size - len(found.failed_database)
    columns = min(columns, truth.database_size // (TILES if protocol == "tokyo247" else 1))
    needed = min(depth(protocol, columns, truth), there)
    if found.rows.shape[1] < needed:
        enough = "all" if needed == there else needed
        raise UserError(
            f"{PARAMS_PATH}: protocol {protocol} needs {needed} neighbors of each query, but"
            f" search.neighbors gave {found.rows.shape[1]}: set it to {enough}."
        )
    kept, precisions = [], []
    for part, near in found.parts():
        if not -1 <= near.rows.min(initial=0) <= near.rows.max(initial=0) < truth.database_size:
            path = Path(found.rows.file.filename)
            raise damaged(path, "it has rows that the database lacks")
        here = truth.take(part)
        allowed = (near.rows >= 0) & ~here.is_doubtful(np.maximum(near.rows, 0))
        allowed[np.isin(np.arange(part.start, part.stop), found.failed_queries)] = False
        if protocol == "tokyo247":
            allowed &= is_first(near.rows // TILES)
        if protocol == "ranked":
            rows = first(near, allowed, near.rows.shape[1]).rows
            precisions.append(average_precision(is_right(rows, here), here.counts()))
        kept.append(first(near, allowed, columns))
    return Ranking(
        np.concatenate([np.zeros((0, columns), np.int64), *(part.rows for part in kept)]),
        np.concatenate([np.zeros((0, columns), np.float32), *(part.distances for part in kept)]),
        np.concatenate([np.zeros(0), *precisions]) if protocol == "ranked" else None,
        {
            "queries_left_out": len(found.failed_queries),
            "database_left_out": len(found.failed_database),
        },
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


def metres_of(first: np.ndarray, truth: Near) -> JsonObject:
    """How far the first answers [Q] are from their queries; nothing found is infinitely far."""
    if not len(first):
        return {}
    metres = np.linalg.norm(truth.database[np.maximum(first, 0)] - truth.queries, axis=1)
    metres[first < 0] = np.inf
    median = float(np.median(metres))
    within = {f"within_{limit}m": float((metres <= limit).mean()) for limit in WITHIN_M}
    return {"median_error_m": round(median, 3) if np.isfinite(median) else None, **within}


def counted_by(protocol: Protocol, settings: RecallSettings) -> RecallSettings:
    """Where no other session has been, nobody can know the place."""
    if protocol != "sessions":
        return settings
    return settings.model_copy(update={"denominator": "answerable"})


def measure(protocol: Protocol, ranking: Ranking, truth: Truth, settings: RecallSettings) -> Result:
    """Recall, with the protocol's name, and what it has besides: mAP, or recall by light."""
    result = evaluate(ranking.rows, truth, counted_by(protocol, settings))
    errors = {}
    if isinstance(truth, Near):
        counted = np.flatnonzero(result.counted)
        errors = metres_of(ranking.rows[counted, 0], truth.take(counted))
    radius = {} if truth.radius_m is None else {"radius_m": truth.radius_m}
    metrics = {**result.metrics, **errors, **radius, "protocol": protocol}
    if settings.sequence.frames > 1:
        metrics["sequence_frames"] = settings.sequence.frames
    if any(ranking.left_out.values()):
        metrics |= ranking.left_out
    if ranking.precisions is not None:
        metrics["map"] = float(ranking.precisions[result.counted].mean())
    parts = {}
    if protocol == "tokyo247":
        for start, light in enumerate(LIGHTS):
            is_of_it = np.arange(len(result.counted)) % len(LIGHTS) == start
            parts[light] = result.counted & is_of_it
            metrics[light] = named(recall_at(result.right[parts[light]], settings.ns))
    return replace(result, metrics=metrics, parts=parts)
