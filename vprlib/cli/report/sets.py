"""What the page knows of one set: its images, and what each run found for each query."""

from collections.abc import Sequence

import numpy as np

from vprlib.cli.report.arrays import DEGREE, packed
from vprlib.cli.report.results import Result
from vprlib.evaluate.predictions import Predictions
from vprlib.evaluate.slices import QueryFacts, SliceSettings, binned, query_facts
from vprlib.pipeline.params import JsonObject
from vprlib.places.projection import Zone, degrees_of
from vprlib.places.truth import Truth

SHOWN = 10  # results of a query
BLOCK = 1000  # queries whose right images are looked up at once
UNKNOWN = 255  # the number of no label


def images_of(result: Result, settings: SliceSettings, zone: Zone) -> JsonObject:
    """Names, positions and facts of both sides of the set that the result belongs to."""
    found = result.found
    facts = query_facts(found, result.scored.truth, result.scored.protocol)
    return {
        "queries": found.queries.names,
        "database": found.database.names,
        "facts": _labelled(facts, settings),
        "heading": None if facts.heading_deg is None else packed(facts.heading_deg, "f4"),
        "nearest": None if facts.nearest_m is None else packed(facts.nearest_m, "f4"),
        **_positions(found, zone),
    }


def _positions(found: Predictions, zone: Zone) -> JsonObject:
    """Metres from the lower left corner; and degrees, if they are known."""
    both = np.concatenate([found.queries.positions, found.database.positions])
    if not np.isfinite(both).all(axis=1).any():
        return {"metres": None, "degrees": None}
    corner = np.nanmin(both, axis=0)
    metres = {
        "queries": packed(found.queries.positions - corner, "f4"),
        "database": packed(found.database.positions - corner, "f4"),
    }
    degrees = {}
    for name, side in (("queries", found.queries), ("database", found.database)):
        at = degrees_of(side, zone)
        if at is None or np.isnan(at).any():
            return {"metres": metres, "degrees": None}
        degrees[name] = packed((at / DEGREE).round(), "i4")
    return {"metres": metres, "degrees": degrees}


def _labelled(facts: QueryFacts, settings: SliceSettings) -> list[JsonObject]:
    """The slices of `diagnose`: for each query the number of its label."""
    found = []
    for name, values in (("light", facts.light), ("time_of_day", facts.time_of_day)):
        if values is not None:
            labels, numbers = np.unique(values, return_inverse=True)
            found.append(_fact(name, labels.tolist(), numbers))
    edges = {
        "heading_difference_deg": (facts.heading_deg, settings.heading_deg),
        "nearest_database_m": (facts.nearest_m, settings.nearest_m),
    }
    for name, (metres, ends) in edges.items():
        if metres is not None:
            masks = binned(metres, ends)
            numbers = np.full(len(metres), UNKNOWN)
            for number, mask in enumerate(masks.values()):
                numbers[mask] = number
            found.append(_fact(name, list(masks), numbers))
    return found


def _fact(name: str, labels: list[str], numbers: np.ndarray) -> JsonObject:
    """More labels than a byte has are no filter that anybody reads."""
    shown = labels[:UNKNOWN]
    return {"name": name, "labels": shown, "of": packed(numbers.clip(0, UNKNOWN), "u1")}


def nearest_right(found: Predictions, truth: Truth) -> np.ndarray:
    """The nearest right database image of each query [Q], or -1; the first where lists decide."""
    nearest = np.full(len(found.queries), -1)
    for start in range(0, len(nearest), BLOCK):
        part = slice(start, start + BLOCK)
        pairs = truth.take(part).positives()
        queries = pairs.queries()
        offsets = found.database.positions[pairs.rows] - found.queries.positions[part][queries]
        order = np.lexsort((np.nan_to_num(np.linalg.norm(offsets, axis=1)), queries))
        first, at = np.unique(queries[order], return_index=True)
        nearest[start + first] = pairs.rows[order][at]
    return nearest


def right_rows(result: Result, nearest: np.ndarray) -> np.ndarray:
    """The right image to show for each query [Q]: the first one found, else the nearest."""
    rank = np.maximum(result.outcome.right_at - 1, 0)[:, None]
    first = np.take_along_axis(result.found.rows, rank, axis=1)[:, 0]
    return np.where(result.outcome.right_at > 0, first, nearest)


def answers_of(result: Result, right: np.ndarray) -> JsonObject:
    """What a run found: its first results, the outcome, and the score of each query."""
    found, outcome = result.found, result.outcome
    rows = found.rows[:, :SHOWN]
    distances = np.where(rows >= 0, found.distances[:, :SHOWN], 0)
    scores = result.scores
    return {
        "columns": rows.shape[1],
        "rows": packed(rows, "i4"),
        "distances": packed(distances, "f4"),
        "hits": packed(found.right[:, :SHOWN], "u1"),
        "category": packed(outcome.category, "u1"),
        "right_at": packed(outcome.right_at, "u4"),
        "right": packed(right, "i4"),
        "counted": packed(result.run.counted, "u1"),
        "answerable": packed(result.scored.truth.counts() > 0, "u1"),
        "scores": None if scores is None else packed(scores, "f8"),
    }


def wanted(results: Sequence[Result], rights: Sequence[np.ndarray]) -> list[list[np.ndarray]]:
    """The images that are looked at, most needed first: pairs of side and row [N, 2] in tiers.

    Mistakes come first, the surest ones of all; then other queries; then further results.
    """
    tiers: list[list[np.ndarray]] = [[], [], []]
    for result, right in zip(results, rights, strict=True):
        order = surest_first(result)
        is_wrong = ~result.outcome.is_correct[order]
        first = result.found.rows[:, 0]
        for tier, queries in enumerate((order[is_wrong], order[~is_wrong])):
            three = ((1, queries), (0, first[queries]), (0, right[queries]))
            tiers[tier].append(_pairs(three))
        more = result.found.rows[order, 1:SHOWN].T
        tiers[2].append(_pairs([(0, rows) for rows in more]))
    return tiers


def surest_first(result: Result) -> np.ndarray:
    """Queries by falling score, or by rising distance where no score is known."""
    if result.scores is not None:
        return np.argsort(-result.scores, kind="stable")
    return np.argsort(result.found.distances[:, 0], kind="stable")


def _pairs(columns: Sequence[tuple[int, np.ndarray]]) -> np.ndarray:
    """Side and row of each image, query by query, without those that are not there."""
    sides = [np.full(len(rows), side) for side, rows in columns]
    flat = np.stack([np.stack(sides, 1), np.stack([rows for _, rows in columns], 1)], axis=2)
    every = flat.reshape(-1, 2)
    return every[every[:, 1] >= 0]
