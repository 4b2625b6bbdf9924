"""Where it fails: what became of each query, and of which queries it becomes so."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from vprlib.evaluate.geojson import Zone, geojson, to_degrees
from vprlib.evaluate.intervals import IntervalSettings, query_locations
from vprlib.evaluate.predictions import Predictions
from vprlib.evaluate.recall import Protocol
from vprlib.evaluate.slices import Known, SliceSettings, known_of, slices
from vprlib.places.truth import Truth

# in this order: the first that holds is what a query is called
CATEGORIES = ("unanswerable", "nothing_found", "correct", "near_miss", "lower_rank", "far")
HEADER = (
    "query",
    "category",
    "right_at",
    "first",
    "distance",
    "metres",
    "easting",
    "northing",
    "first_easting",
    "first_northing",
    "nearest_database_m",
    "heading_difference_deg",
    "light",
)


class FailureSettings(SliceSettings):
    """The `failures` section; changing it runs `failures` alone."""

    near_miss: float = Field(2.0, gt=1)  # times the radius: a first result within it nearly is
    worst: int = Field(8, ge=0)  # misses in the picture, at most one a location


@dataclass(frozen=True)
class Outcomes:
    """What became of each query."""

    category: np.ndarray  # [Q] of CATEGORIES, by number
    right_at: np.ndarray  # [Q] rank of the first right image from 1; 0 where none was kept
    metres: np.ndarray  # [Q] from the query to the first result; NaN where not known

    @property
    def is_correct(self) -> np.ndarray:
        return self.category == CATEGORIES.index("correct")

    def names(self) -> list[str]:
        return [CATEGORIES[number] for number in self.category]


def outcomes(found: Predictions, truth: Truth, near_miss: float) -> Outcomes:
    """A query without a right image is unanswerable, whatever was found for it."""
    first = found.rows[:, 0]
    metres = np.linalg.norm(found.database.positions[first] - found.queries.positions, axis=1)
    metres = np.where(first >= 0, metres, np.nan)
    right_at = np.where(found.right.any(axis=1), found.right.argmax(axis=1) + 1, 0)
    limit = -1.0 if truth.radius_m is None else near_miss * truth.radius_m
    holds = (truth.counts() == 0, first < 0, right_at == 1, metres <= limit, right_at > 1)
    category = np.select(holds, range(len(holds)), len(holds))
    return Outcomes(category, right_at, metres)


def shares(found: Outcomes, has_positions: bool) -> dict[str, float | None]:
    """Category → share of the queries; near misses are not known without positions."""
    told = {
        name: float((found.category == number).mean()) for number, name in enumerate(CATEGORIES)
    }
    return told if has_positions else {**told, "near_miss": None}


def as_rows(found: Predictions, became: Outcomes, known: Known) -> Iterator[tuple[object, ...]]:
    """A row a query; what is not known is empty."""
    unknown = np.full(len(found.queries), np.nan)
    nearest = unknown if known.nearest_m is None else known.nearest_m
    heading = unknown if known.heading_deg is None else known.heading_deg
    for query, category in enumerate(became.names()):
        row = found.rows[query, 0]
        is_there = row >= 0
        there = found.database.positions[row] if is_there else (np.nan, np.nan)
        yield (
            found.queries.names[query],
            category,
            int(became.right_at[query]) or "",
            found.database.names[row] if is_there else "",
            f"{found.distances[query, 0]:.6f}" if is_there else "",
            _shown(became.metres[query]),
            *("" if np.isnan(v) else float(v) for v in (*found.queries.positions[query], *there)),
            _shown(nearest[query]),
            _shown(heading[query]),
            "" if known.light is None else known.light[query],
        )


def _shown(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.3f}"


def worst(found: Predictions, became: Outcomes, place: np.ndarray, count: int) -> list[int]:
    """The misses that were taken for the surest hits, at most one a location.

    A miss is a far answer or a right one at a lower rank; near misses are hardly wrong, and
    unanswerable queries have no right answer to show.
    """
    missed = np.isin(became.category, [CATEGORIES.index(c) for c in ("lower_rank", "far")])
    missed &= found.rows[:, 0] >= 0
    order = np.argsort(found.distances[:, 0], kind="stable")
    chosen: dict[int, int] = {}
    for query in order[missed[order]].tolist():
        chosen.setdefault(int(place[query]), query)
    return list(chosen.values())[:count]


def right_answer(found: Predictions, became: Outcomes, truth: Truth, query: int) -> tuple[int, int]:
    """Database row and rank of the best right image; where none was kept, the nearest, rank 0."""
    rank = int(became.right_at[query])
    if rank:
        return int(found.rows[query, rank - 1]), rank
    rows = truth.take(np.array([query])).positives().rows
    metres = np.linalg.norm(found.database.positions[rows] - found.queries.positions[query], axis=1)
    return int(rows[np.argmin(np.nan_to_num(metres))]), 0


@dataclass(frozen=True)
class Analysis:
    """All that is said of the queries of a set."""

    became: Outcomes
    known: Known
    metrics: dict[str, object]
    worst: list[int]  # queries whose misses are shown


def analyse(
    found: Predictions,
    truth: Truth,
    protocol: Protocol,
    settings: FailureSettings,
    interval: IntervalSettings,
) -> Analysis:
    became = outcomes(found, truth, settings.near_miss)
    known = known_of(found, truth, protocol)
    place = query_locations(found.queries.positions, truth, interval.location_m)
    metrics = {
        "queries": len(found.queries),
        "shares": shares(became, truth.radius_m is not None),
        "slices": slices(became.is_correct, known, place, settings, interval),
    }
    return Analysis(became, known, metrics, worst(found, became, place, settings.worst))


def on_map(found: Predictions, became: Outcomes, zone: Zone) -> tuple[dict[str, object], bool]:
    """The queries as GeoJSON, and whether it knows where they are."""
    first, is_found = np.maximum(found.rows[:, 0], 0), found.rows[:, 0] >= 0
    at = to_degrees(found.queries.positions, zone)
    answers = to_degrees(found.database.positions[first], zone)
    told = [
        {
            "category": category,
            "answer": found.database.names[row] if is_there else None,
            "metres": None if np.isnan(metres) else round(float(metres), 3),
            "right_at": int(rank) or None,
        }
        for category, row, is_there, metres, rank in zip(
            became.names(), first, is_found, became.metres, became.right_at, strict=True
        )
    ]
    is_wrong = ~became.is_correct & is_found
    return geojson(found.queries.names, told, at, answers, is_wrong), at is not None


def sentence(told: Mapping[str, float | None]) -> str:
    nothing = {"nothing_found": "nothing found"} if told["nothing_found"] else {}
    words = {
        "correct": "correct",
        "near_miss": "near misses",
        "lower_rank": "right at a lower rank",
        "far": "far away",
        "unanswerable": "unanswerable",
        **nothing,
    }
    return ", ".join(
        f"{words[name]} {'not known' if told[name] is None else f'{100 * told[name]:.1f} %'}"
        for name in words
    )
