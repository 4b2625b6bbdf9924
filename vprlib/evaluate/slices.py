"""Recall@1 of slices of the queries: by light, time, heading, and distance to the database."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Annotated

import numpy as np
from pydantic import Field, field_validator

from vprlib.evaluate.intervals import IntervalSettings, share_interval
from vprlib.evaluate.predictions import Predictions
from vprlib.evaluate.protocols import LIGHTS
from vprlib.evaluate.recall import Protocol
from vprlib.pipeline.params import Section
from vprlib.places.geo import apart_deg, nearest_m
from vprlib.places.truth import Truth

Edges = Annotated[tuple[Annotated[float, Field(le=1e8)], ...], Field(min_length=1)]


class SliceSettings(Section):
    """The upper edges of the slices."""

    heading_deg: Edges = (5.0, 10.0, 20.0, 45.0, 90.0)  # heading difference to the right image
    nearest_m: Edges = (2.0, 3.0, 5.0, 10.0, 25.0)  # distance to the database

    @field_validator("heading_deg", "nearest_m")
    @classmethod
    def _rising(cls, edges: tuple[float, ...]) -> tuple[float, ...]:
        if min(edges) <= 0 or any(b <= a for a, b in pairwise(edges)):
            raise ValueError(f"the edges should be positive and rise, but are {list(edges)}")
        return edges


@dataclass(frozen=True)
class QueryFacts:
    """What is known of the queries besides positions; None where unknown."""

    light: list[str] | None
    time_of_day: list[str] | None
    heading_deg: np.ndarray | None  # to the right image
    nearest_m: np.ndarray | None  # to the database


def query_facts(found: Predictions, truth: Truth, protocol: Protocol) -> QueryFacts:
    metres = nearest_m(found.queries.positions, found.database.positions)
    near = metres if np.isfinite(metres).all() else None
    headings = heading_differences(found, truth)
    return QueryFacts(lights(found, protocol), times_of_day(found), headings, near)


def heading_differences(found: Predictions, truth: Truth) -> np.ndarray | None:
    """Degrees [Q] to the right image with the most similar heading; NaN if there is none."""
    if not all("heading" in side.extra for side in (found.queries, found.database)):
        return None
    pairs = truth.positives()
    headings = found.queries.extra["heading"][pairs.queries()]
    apart = apart_deg(headings, found.database.extra["heading"][pairs.rows])
    smallest = np.full(len(found.queries), np.inf)
    np.minimum.at(smallest, pairs.queries(), apart)
    return np.where(np.isinf(smallest), np.nan, smallest)


def lights(found: Predictions, protocol: Protocol) -> list[str] | None:
    """The light of each query, where known; Tokyo 24/7 has three in turn."""
    if "light" in found.queries.extra:
        return [str(light) for light in found.queries.extra["light"]]
    if protocol == "tokyo247":
        return [LIGHTS[number % len(LIGHTS)] for number in range(len(found.queries))]
    return None


def times_of_day(found: Predictions) -> list[str] | None:
    """The quarter of the day of each query, where time stamps are dates with an hour."""
    times = found.queries.extra.get("time")
    if times is None or times.dtype != object:
        return None  # numbers may be months, as in Tokyo Time Machine
    try:
        hours = [datetime.fromisoformat(str(time)).hour for time in times]
    except ValueError:
        return None
    parts = [f"{6 * (hour // 6):02}-{6 * (hour // 6) + 6:02} h" for hour in hours]
    return parts if any(hours) else None  # all at midnight: dates without an hour


def slices(
    is_correct: np.ndarray,
    facts: QueryFacts,
    place: np.ndarray,
    settings: SliceSettings,
    interval: IntervalSettings,
) -> dict[str, dict[str, dict[str, float | int]]]:
    """Recall@1 of each slice with its interval; `is_correct` and `place`, the location, are [Q]."""
    groups: dict[str, dict[str, np.ndarray]] = {}
    for name, values in (("light", facts.light), ("time_of_day", facts.time_of_day)):
        if values is not None:
            labels = np.array(values)
            groups[name] = {str(label): labels == label for label in np.unique(labels)}
    if facts.heading_deg is not None:
        groups["heading_difference_deg"] = binned(facts.heading_deg, settings.heading_deg)
    if facts.nearest_m is not None:
        groups["nearest_database_m"] = binned(facts.nearest_m, settings.nearest_m)
    return {
        name: {part: _slice(is_correct, mask, place, interval) for part, mask in parts.items()}
        for name, parts in groups.items()
    }


def _slice(
    is_correct: np.ndarray, mask: np.ndarray, place: np.ndarray, interval: IntervalSettings
) -> dict[str, float | int]:
    right = is_correct[mask]
    low, high = share_interval(right, place[mask], interval)
    return {
        "queries": len(right),
        "locations": len(np.unique(place[mask])),
        "recall@1": float(right.mean()),
        "low": float(low),
        "high": float(high),
    }


def binned(values: np.ndarray, edges: Sequence[float]) -> dict[str, np.ndarray]:
    """'0-5', '5-10' … and 'over 90' → mask of the values in it, upper edge included.

    Empty bins are left out; unknown values (NaN) are in none.
    """
    starts = [-np.inf, *edges]
    labels = [f"{a:g}-{b:g}" for a, b in zip((0, *edges), edges, strict=False)]
    masks = {
        label: (values > start) & (values <= end)
        for label, start, end in zip(
            [*labels, f"over {edges[-1]:g}"], starts, [*edges, np.inf], strict=True
        )
    }
    return {label: mask for label, mask in masks.items() if mask.any()}
