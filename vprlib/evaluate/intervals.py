"""Confidence intervals over locations: of recalls, and of the difference of two runs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from pydantic import Field

from vprlib.evaluate.recall import Protocol, Result, named
from vprlib.pipeline.params import JsonObject, Metres, Section, Seed
from vprlib.places.geo import locations
from vprlib.places.truth import Listed, Truth

WIDEST = 1e6  # standard errors; as good as no limit
STEPS = 50  # halvings of an interval: beyond the precision of float64
BLOCK = 1 << 22  # signs in memory at once


class IntervalSettings(Section):
    """The `interval` section: changing it neither describes images nor searches again."""

    # queries within this distance of the first one of a location belong to it
    location_m: Metres = 1.0
    # share of the intervals that contain the true value
    level: Annotated[float, Field(gt=0, lt=1)] = 0.95


def share_interval(
    right: np.ndarray, place: np.ndarray, settings: IntervalSettings
) -> tuple[float, float]:
    """The interval of the share of `right` [Q], for queries at the locations `place` [Q].

    Wilson's score interval for the effective number of independent queries. Queries of one location
    fail together: the design effect is the variance between locations over that of independent
    queries, plus one wrong answer whose whole location is wrong, so that a share of 0 or 1 has a
    width. Quantiles are Student's, for the effective number of locations of equal size. A single
    location gives (0, 1).
    """
    from scipy.special import stdtrit

    labels = np.unique(place, return_inverse=True)[1]
    sizes, found = np.bincount(labels), np.bincount(labels, right)
    total, squares = sizes.sum(), (sizes**2).sum()
    if len(sizes) < 2:
        return 0.0, 1.0
    share = found.sum() / total
    freedom = total**2 / squares - 1
    quantile = min(float(stdtrit(freedom, (1 + settings.level) / 2)), WIDEST)
    common = max(share, 1 - share)
    between = ((found - share * sizes) ** 2 / (1 - sizes / total)).sum()
    effect = (between + common * squares / total) / (total * share * (1 - share) + common)
    ratio = quantile**2 * effect / total  # squared quantile over effective queries
    centre = (share + ratio / 2) / (1 + ratio)
    half = np.sqrt(ratio * share * (1 - share) + ratio**2 / 4) / (1 + ratio)
    return float(max(centre - half, 0.0)), float(min(centre + half, 1.0))


def mean_of_groups(
    right: np.ndarray, groups: np.ndarray, settings: IntervalSettings
) -> tuple[float, float, float]:
    """The mean of the groups' shares of `right` [Q], and its interval for another such group.

    Student's, over the groups alone, so that how much they differ counts; two tell hardly anything.
    """
    from scipy.special import stdtrit

    labels = np.unique(groups.astype(str), return_inverse=True)[1]
    shares = np.bincount(labels, right) / np.bincount(labels)
    mean, count = float(shares.mean()), len(shares)
    if count < 2:
        return mean, 0.0, 1.0
    error = float(shares.std(ddof=1)) / np.sqrt(count)
    half = float(stdtrit(count - 1, (1 + settings.level) / 2)) * error
    return mean, max(mean - half, 0.0), min(mean + half, 1.0)


def with_sessions(result: Result, sessions: np.ndarray, settings: IntervalSettings) -> Result:
    """Adds what a session that the database has not seen may expect of the first answer."""
    counted = result.counted
    if not counted.any():
        return result
    found = mean_of_groups(result.right[counted, 0], sessions[counted], settings)
    names = ("new_session@1", "new_session@1_low", "new_session@1_high")
    count = len({*sessions[counted].tolist()})
    told = dict(zip(names, found, strict=True)) | {"sessions": count}
    return replace(result, metrics={**result.metrics, **told})


def with_ends(
    name: str, right: np.ndarray, place: np.ndarray, settings: IntervalSettings
) -> dict[str, float]:
    """The share of `right`, and the ends of its interval under names of their own; 0 of nothing."""
    low, high = share_interval(right, place, settings)
    return {
        name: float(right.mean()) if len(right) else 0.0,
        f"{name}_low": low,
        f"{name}_high": high,
    }


def query_locations(positions: np.ndarray, truth: Truth, distance_m: float) -> np.ndarray:
    """The location of each query [Q]: by position, or by its list in a set without positions.

    Queries with the same list are one location, such as the five of a landmark in Oxford; a query
    without a right image is a location of its own.
    """
    if not isinstance(truth, Listed):
        return locations(positions, distance_m)
    counts = truth.counts().tolist()
    lists = [truth.right.of(q).tobytes() if count else q for q, count in enumerate(counts)]
    first = {key: q for q, key in reversed(list(enumerate(lists)))}
    return np.unique([first[key] for key in lists], return_inverse=True)[1]


def of_protocol(settings: IntervalSettings, protocol: Protocol, truth: Truth) -> IntervalSettings:
    """Photographs of a drive that are near each other fail together, so they are one location."""
    if protocol != "sessions" or truth.radius_m is None:
        return settings
    widest = max(settings.location_m, truth.radius_m)
    return settings.model_copy(update={"location_m": widest})


def with_intervals(
    result: Result, place: np.ndarray, is_listed: bool, settings: IntervalSettings
) -> Result:
    """Adds the low and high end of its interval to each recall; `place` is [Q]."""
    found = np.maximum.accumulate(result.right, axis=1)

    def ends_of(recalls: Mapping[str, float], counted: np.ndarray) -> JsonObject:
        ends: JsonObject = {}
        for name, value in recalls.items():
            n = int(name.partition("@")[2])
            right = found[counted, min(n, found.shape[1]) - 1]
            low, high = share_interval(right, place[counted], settings)
            ends |= {name: value, f"{name}_low": low, f"{name}_high": high}
        return ends

    recalls = named(dict(result.curve))
    parts = {name: ends_of(result.metrics[name], part) for name, part in result.parts.items()}
    metrics = ends_of(recalls, result.counted) | {
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


class CompareSettings(Section):
    """The `compare` section: random exchanges of two runs; only `vpr compare` reads it."""

    resamples: Annotated[int, Field(ge=100, le=10_000_000)] = 10_000
    seed: Seed = 1


@dataclass(frozen=True)
class Difference:
    """Share of B minus share of A; `p` is the probability of as large a difference by chance."""

    value: float
    low: float
    high: float
    p: float


def difference_interval(
    right_a: np.ndarray,
    right_b: np.ndarray,
    place: np.ndarray,
    interval: IntervalSettings,
    settings: CompareSettings,
) -> Difference:
    """What B gains over A on the same queries [Q] at the locations `place` [Q].

    The interval contains zero if the difference is not significant.
    """
    labels = np.unique(place, return_inverse=True)[1]
    sizes = np.bincount(labels)
    gains = np.bincount(labels, right_b & ~right_a, len(sizes))
    losses = np.bincount(labels, right_a & ~right_b, len(sizes))
    value = float((gains.sum() - losses.sum()) / max(sizes.sum(), 1))
    low, high = score_interval(gains, losses, sizes, interval.level)
    p = exchange_test(gains - losses, settings)
    if p >= 1 - interval.level:
        low, high = min(low, 0.0), max(high, 0.0)
    return Difference(value, low, high, p)


def exchange_test(sums: np.ndarray, settings: CompareSettings) -> float:
    """Share of exchanges with at least as large a total of `sums`, one for each location.

    Without a difference the two runs could be exchanged at any location, which changes the sign of
    its sum. All exchanges are tried if they are few, else `resamples` random ones.
    """
    sums = sums[sums != 0].astype(np.float32)  # small whole numbers: exact
    observed = abs(float(sums.sum()))
    if 2 ** len(sums) <= settings.resamples:
        every = np.arange(2 ** len(sums))[:, None] >> np.arange(len(sums)) & 1
        return float((_totals(every, sums) >= observed).mean())
    draw = np.random.default_rng(settings.seed)
    block = max(1, BLOCK // len(sums))
    as_large = 0
    for start in range(0, settings.resamples, block):
        count = min(block, settings.resamples - start)
        bits = np.frombuffer(draw.bytes(count * -(-len(sums) // 8)), np.uint8)
        exchanges = np.unpackbits(bits.reshape(count, -1), axis=1, count=len(sums))
        as_large += int((_totals(exchanges, sums) >= observed).sum())
    return (1 + as_large) / (1 + settings.resamples)


def _totals(exchanges: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """Size of the total after each exchange [R, L]; 1 where a location keeps its sign."""
    return np.abs(2 * (exchanges.astype(np.float32) @ sums) - sums.sum())


def score_interval(
    gains: np.ndarray, losses: np.ndarray, sizes: np.ndarray, level: float
) -> tuple[float, float]:
    """Tango's score interval of a paired difference, for the effective number of queries.

    As for a share, the variance between locations gives the design effect, one changed query
    whose whole location changes is added, and quantiles are Student's.
    """
    from scipy.special import stdtrit

    if len(sizes) < 2:
        return -1.0, 1.0
    total, squares = sizes.sum(), (sizes**2).sum()
    quantile = min(float(stdtrit(total**2 / squares - 1, (1 + level) / 2)), WIDEST)
    gained, lost = gains.sum() / total, losses.sum() / total
    value = gained - lost
    between = ((gains - losses - value * sizes) ** 2 / (1 - sizes / total)).sum()
    alone = total * (gained + lost - value**2)  # between independent queries
    queries = total * (alone + 1) / (between + squares / total)

    def errors(difference: float) -> float:
        """Standard errors between this difference and the observed one, assuming this one."""
        linear = 2 * difference - gained * (1 + difference) - lost * (1 - difference)
        root = linear**2 + 8 * lost * difference * (1 - difference)
        smallest = (np.sqrt(max(root, 0.0)) - linear) / 4  # most likely share lost, assuming it
        variance = max(2 * smallest + difference * (1 - difference), 1e-12)
        return float((value - difference) / np.sqrt(variance / queries))

    return (
        _crossing(lambda at: errors(at) <= quantile, -1.0, value),
        _crossing(lambda at: errors(at) < -quantile, value, 1.0),
    )


def _crossing(is_past: Callable[[float], bool], low: float, high: float) -> float:
    """The point from left to right where `is_past` becomes true."""
    low, high = float(low), float(high)
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if is_past(middle) else (middle, high)
    return high
