"""Puts an interval beside each recall of a result."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from vprlib.intervals import IntervalSettings, share_interval
from vprlib.locations import locations
from vprlib.recall import Result, named
from vprlib.truth import Listed, Truth


def query_locations(positions: np.ndarray, truth: Truth, distance_m: float) -> np.ndarray:
    """The location of each query [Q]: by position, or, where lists tell what is right, by them.

    Queries with the same list show one place, such as the five of a landmark of Oxford; a query
    without a right image is alone.
    """
    if not isinstance(truth, Listed):
        return locations(positions, distance_m)
    counts = truth.counts().tolist()
    lists = [truth.right.of(q).tobytes() if count else q for q, count in enumerate(counts)]
    first = {shown: q for q, shown in reversed(list(enumerate(lists)))}
    return np.unique([first[shown] for shown in lists], return_inverse=True)[1]


def with_intervals(
    result: Result, place: np.ndarray, is_listed: bool, settings: IntervalSettings
) -> Result:
    """The same result, each recall followed by its low and its high end; `place` is [Q]."""
    found = np.maximum.accumulate(result.right, axis=1)

    def beside(recalls: Mapping[str, object], counted: np.ndarray) -> dict[str, object]:
        ends = {}
        for name, value in recalls.items():
            n = int(name.partition("@")[2])
            right = found[counted, min(n, found.shape[1]) - 1]
            low, high = share_interval(right, place[counted], settings)
            ends |= {name: value, f"{name}_low": low, f"{name}_high": high}
        return ends

    recalls = named(dict(result.curve))
    parts = {name: beside(result.metrics[name], part) for name, part in result.parts.items()}
    metrics = beside(recalls, result.counted) | {
        name: parts.get(name, value)
        for name, value in result.metrics.items()
        if name not in recalls
    }
    metrics |= {
        "locations": len(np.unique(place[result.counted])),
        "location_m": None if is_listed else settings.location_m,
        "interval_level": settings.level,
    }
    ends = [(metrics[f"{name}_low"], metrics[f"{name}_high"]) for name in recalls]
    return replace(result, metrics=metrics, ends=ends)
