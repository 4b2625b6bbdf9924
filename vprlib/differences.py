"""Two runs asked the same queries: how far their difference can be trusted, by location."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from vprlib.intervals import WIDEST, IntervalSettings
from vprlib.params import Section, Seed

STEPS = 50  # halvings of an interval: more than float64 can tell
BLOCK = 1 << 22  # signs held at once


class CompareSettings(Section):
    """How often the runs are exchanged by chance; only the command `compare` reads it."""

    resamples: Annotated[int, Field(ge=100, le=10_000_000)] = 10_000
    seed: Seed = 1


@dataclass(frozen=True)
class Difference:
    """Share of B less share of A; `p` is how often chance makes as large a difference."""

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

    Where chance alone explains it, the interval holds zero.
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
    """Share of exchanges that give at least as large a total of `sums`, one a location.

    Without a difference the two runs could be exchanged at any location, which turns the sign of
    its sum. All exchanges are tried where they are few, else `resamples` random ones.
    """
    sums = sums[sums != 0].astype(np.float32)  # small whole numbers: exact
    wanted = abs(float(sums.sum()))
    if 2 ** len(sums) <= settings.resamples:
        exchanges = np.arange(2 ** len(sums))[:, None] >> np.arange(len(sums)) & 1
        return float((_totals(exchanges, sums) >= wanted).mean())
    draw = np.random.default_rng(settings.seed)
    block = max(1, BLOCK // len(sums))
    as_large = 0
    for start in range(0, settings.resamples, block):
        count = min(block, settings.resamples - start)
        bits = np.frombuffer(draw.bytes(count * -(-len(sums) // 8)), np.uint8)
        exchanges = np.unpackbits(bits.reshape(count, -1), axis=1, count=len(sums))
        as_large += int((_totals(exchanges, sums) >= wanted).sum())
    return (1 + as_large) / (1 + settings.resamples)


def _totals(exchanges: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """The total's size after each exchange [R]; 1 where a location [L] keeps its sign."""
    return np.abs(2 * (exchanges.astype(np.float32) @ sums) - sums.sum())


def score_interval(
    gains: np.ndarray, losses: np.ndarray, sizes: np.ndarray, level: float
) -> tuple[float, float]:
    """Tango's score interval of a paired difference, for as many queries as these are worth.

    As for a share, the variance between locations gives the design effect, one changed query
    whose whole location changes is added to it, and quantiles are Student's.
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
        """Standard errors from this difference to the one found, under it."""
        linear = 2 * difference - gained * (1 + difference) - lost * (1 - difference)
        root = linear**2 + 8 * lost * difference * (1 - difference)
        smallest = (np.sqrt(max(root, 0.0)) - linear) / 4  # the share lost, most likely under it
        variance = max(2 * smallest + difference * (1 - difference), 1e-12)
        return float((value - difference) / np.sqrt(variance / queries))

    return (
        _crossing(lambda at: errors(at) <= quantile, -1.0, value),
        _crossing(lambda at: errors(at) < -quantile, value, 1.0),
    )


def _crossing(is_past: Callable[[float], bool], low: float, high: float) -> float:
    """Where, from left to right, `is_past` becomes true."""
    low, high = float(low), float(high)
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if is_past(middle) else (middle, high)
    return high
