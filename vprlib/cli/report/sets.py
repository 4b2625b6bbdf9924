"""What the page knows of one set: its images, and what each run found for each query."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from vprlib.cli.report.arrays import DEGREE, packed
from vprlib.cli.report.results import Result
from vprlib.evaluate.predictions import Predictions
from vprlib.evaluate.slices import QueryFacts, SliceSettings, binned, query_facts
from vprlib.pipeline.params import JsonObject
from vprlib.places.projection import Zone, degrees_of

SHOWN = 10  # results of a query
UNKNOWN = 255  # the number of no label


def images_of(result: Result, settings: SliceSettings, zone: Zone) -> JsonObject:
    """Names, positions and facts of both sides of the set that the result belongs to."""
    found = result.found
    own = replace(found, database=found.database.take(np.arange(result.scored.truth.database_size)))
    facts = query_facts(own, result.scored.truth, result.scored.protocol)
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


def answers_of(result: Result) -> JsonObject:
    """What a run found: its first results, the outcome, and the score of each query."""
    found, outcome = result.found, result.outcome
    rows = found.rows[:, :SHOWN]
    distances = np.where(rows >= 0, found.distances[:, :SHOWN], 0)
    scores, look = result.scores, result.second_look
    return {
        "columns": rows.shape[1],
        "rows": packed(rows, "i4"),
        "distances": packed(distances, "f4"),
        "hits": packed(found.right[:, :SHOWN], "u1"),
        "category": packed(outcome.category, "u1"),
        "right_at": packed(outcome.right_at, "u4"),
        "right": packed(result.right, "i4"),
        "counted": packed(result.run.counted, "u1"),
        "answerable": packed(result.scored.truth.counts() > 0, "u1"),
        "scores": None if scores is None else packed(scores, "f8"),
        "inliers": None if look is None else packed(look.inliers[:, :SHOWN], "i4"),
    }


def wanted(results: Sequence[Result]) -> list[list[np.ndarray]]:
    """The images that are looked at, most needed first: pairs of side and row [N, 2] in tiers.

    Mistakes come first, the surest ones of all; then other queries; then further results.
    """
    tiers: list[list[np.ndarray]] = [[], [], []]
    for result in results:
        order = surest_first(result)
        is_wrong = ~result.outcome.is_correct[order]
        first = result.found.rows[:, 0]
        for tier, queries in enumerate((order[is_wrong], order[~is_wrong])):
            three = ((1, queries), (0, first[queries]), (0, result.right[queries]))
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
