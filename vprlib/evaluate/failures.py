"""Classifies the outcome of each query, and lists and maps the failures."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from vprlib.evaluate.intervals import IntervalSettings, query_locations
from vprlib.evaluate.predictions import Predictions
from vprlib.evaluate.recall import Protocol
from vprlib.evaluate.slices import QueryFacts, SliceSettings, query_facts, slices
from vprlib.pipeline.params import JsonObject
from vprlib.places.projection import Zone, degrees_of
from vprlib.places.truth import Truth

# the first that holds is the category of a query
CATEGORIES = ("unanswerable", "nothing_found", "correct", "near_miss", "lower_rank", "far")
HEADER = (
    *("query", "category", "right_at", "first", "distance", "metres", "easting", "northing"),
    *("first_easting", "first_northing", "nearest_database_m", "heading_difference_deg", "light"),
)
# '17N', '56S': plain UTM metres, as in Pittsburgh; null: unknown, or part of the eastings
_DIGITS = 7  # a centimetre


class FailureSettings(SliceSettings):
    """The `failures` section; changing it runs `failures` alone."""

    near_miss: float = Field(2.0, gt=1, le=1e6)  # radii: a first result within is near
    worst: int = Field(8, ge=0, le=1000)  # misses in the picture, at most one per location


@dataclass(frozen=True)
class Outcomes:
    """The outcome of each query."""

    category: np.ndarray  # [Q] index into CATEGORIES
    right_at: np.ndarray  # [Q] rank of the first right image from 1; 0: none
    metres: np.ndarray  # [Q] from the query to the first result; NaN where unknown

    @property
    def is_correct(self) -> np.ndarray:
        return self.category == CATEGORIES.index("correct")

    def names(self) -> list[str]:
        return [CATEGORIES[number] for number in self.category]


def outcomes(found: Predictions, truth: Truth, near_miss: float) -> Outcomes:
    """A query without a right image is unanswerable, whatever was found."""
    first = found.rows[:, 0]
    metres = np.linalg.norm(found.database.positions[first] - found.queries.positions, axis=1)
    metres = np.where(first >= 0, metres, np.nan)
    right_at = np.where(found.right.any(axis=1), found.right.argmax(axis=1) + 1, 0)
    limit = -1.0 if truth.radius_m is None else near_miss * truth.radius_m
    holds = (truth.counts() == 0, first < 0, right_at == 1, metres <= limit, right_at > 1)
    category = np.select(holds, range(len(holds)), len(holds))
    return Outcomes(category, right_at, metres)


def as_rows(
    found: Predictions, outcome: Outcomes, facts: QueryFacts
) -> Iterator[tuple[object, ...]]:
    """A row for each query; unknown values are empty."""
    unknown = np.full(len(found.queries), np.nan)
    nearest = unknown if facts.nearest_m is None else facts.nearest_m
    heading = unknown if facts.heading_deg is None else facts.heading_deg
    for query, category in enumerate(outcome.names()):
        row = found.rows[query, 0]
        is_there = row >= 0
        there = found.database.positions[row] if is_there else (np.nan, np.nan)
        yield (
            found.queries.names[query],
            category,
            int(outcome.right_at[query]) or "",
            found.database.names[row] if is_there else "",
            f"{found.distances[query, 0]:.6f}" if is_there else "",
            _shown(outcome.metres[query]),
            *("" if np.isnan(v) else float(v) for v in (*found.queries.positions[query], *there)),
            _shown(nearest[query]),
            _shown(heading[query]),
            "" if facts.light is None else facts.light[query],
        )


def _shown(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.3f}"


def worst(found: Predictions, outcome: Outcomes, place: np.ndarray, count: int) -> list[int]:
    """The misses with the smallest distances, at most one per location.

    A miss is a far answer, or a right one at a lower rank; near misses are almost right, and
    unanswerable queries have no right answer to show.
    """
    missed = np.isin(outcome.category, [CATEGORIES.index(c) for c in ("lower_rank", "far")])
    missed &= found.rows[:, 0] >= 0
    order = np.argsort(found.distances[:, 0], kind="stable")
    chosen: dict[int, int] = {}
    for query in order[missed[order]].tolist():
        chosen.setdefault(int(place[query]), query)
    return list(chosen.values())[:count]


def right_answer(
    found: Predictions, outcome: Outcomes, truth: Truth, query: int
) -> tuple[int, int]:
    """Database row and rank of the first right image; else the nearest right one and rank 0."""
    rank = int(outcome.right_at[query])
    if rank:
        return int(found.rows[query, rank - 1]), rank
    rows = truth.take(np.array([query])).positives().rows
    metres = np.linalg.norm(found.database.positions[rows] - found.queries.positions[query], axis=1)
    return int(rows[np.argmin(np.nan_to_num(metres))]), 0


@dataclass(frozen=True)
class Analysis:
    """Outcomes, metrics and the worst misses of a set."""

    outcome: Outcomes
    facts: QueryFacts
    metrics: JsonObject
    worst: list[int]  # queries


def analyse(
    found: Predictions,
    truth: Truth,
    protocol: Protocol,
    settings: FailureSettings,
    interval: IntervalSettings,
) -> Analysis:
    outcome = outcomes(found, truth, settings.near_miss)
    facts = query_facts(found, truth, protocol)
    place = query_locations(found.queries.positions, truth, interval.location_m)
    shares: dict[str, float | None] = {
        name: float((outcome.category == n).mean()) if len(outcome.category) else None
        for n, name in enumerate(CATEGORIES)
    }
    if truth.radius_m is None:  # near misses need positions
        shares["near_miss"] = None
    metrics = {
        "queries": len(found.queries),
        "shares": shares,
        "slices": slices(outcome.is_correct, facts, place, settings, interval),
    }
    return Analysis(outcome, facts, metrics, worst(found, outcome, place, settings.worst))


def on_map(found: Predictions, outcome: Outcomes, zone: Zone) -> tuple[dict[str, object], bool]:
    """The queries as GeoJSON, and whether their positions in degrees are known."""
    first, is_found = np.maximum(found.rows[:, 0], 0), found.rows[:, 0] >= 0
    at, database = degrees_of(found.queries, zone), degrees_of(found.database, zone)
    answers = None if database is None else database[first]
    properties = [
        {
            "category": category,
            "answer": found.database.names[row] if is_there else None,
            "metres": None if np.isnan(metres) else round(float(metres), 3),
            "right_at": int(rank) or None,
        }
        for category, row, is_there, metres, rank in zip(
            outcome.names(), first, is_found, outcome.metres, outcome.right_at, strict=True
        )
    ]
    is_wrong = ~outcome.is_correct & is_found
    return geojson(found.queries.names, properties, at, answers, is_wrong), at is not None


def sentence(of: Mapping[str, float | None]) -> str:
    """The share of each category in words."""
    nothing = {"nothing_found": "nothing found"} if of["nothing_found"] else {}
    words = {
        "correct": "correct",
        "near_miss": "near misses",
        "lower_rank": "right at a lower rank",
        "far": "far away",
        "unanswerable": "unanswerable",
        **nothing,
    }
    shown = {name: "not known" if s is None else f"{100 * s:.1f} %" for name, s in of.items()}
    return ", ".join(f"{text} {shown[name]}" for name, text in words.items())


def geojson(
    names: Sequence[str],
    properties: Sequence[dict[str, object]],
    at: np.ndarray | None,
    answers: np.ndarray | None,
    is_wrong: np.ndarray,
) -> dict[str, object]:
    """A point for each query, and a line from each wrong one to its answer.

    GeoJSON must be in degrees (RFC 7946). If these are unknown, `at` and `answers` are None and a
    query is a feature without geometry, which is valid, unlike metres.
    """
    features = []
    for query, (name, others) in enumerate(zip(names, properties, strict=True)):
        labels = {"query": name, **others}
        point = None if at is None else _place(at[query])
        geometry = None if point is None else {"type": "Point", "coordinates": point}
        features.append({"type": "Feature", "geometry": geometry, "properties": labels})
        end = None if answers is None else _place(answers[query])
        if is_wrong[query] and point and end:
            line: dict[str, object] = {"type": "LineString", "coordinates": [point, end]}
            features.append({"type": "Feature", "geometry": line, "properties": labels})
    return {"type": "FeatureCollection", "features": features}


def _place(degrees: np.ndarray) -> list[float] | None:
    return None if np.isnan(degrees).any() else [round(float(v), _DIGITS) for v in degrees]
