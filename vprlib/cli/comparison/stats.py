"""The statistics of `vpr compare`: changes between two runs, and averages over seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vprlib.cli.comparison.runs import Run, check_comparable, different_params
from vprlib.evaluate.intervals import (
    CompareSettings,
    Difference,
    IntervalSettings,
    difference_interval,
    share_interval,
)
from vprlib.pipeline.params import UserError


@dataclass(frozen=True)
class Change:
    """How the counted queries changed, within the first N results."""

    difference: Difference
    queries: Mapping[str, np.ndarray]  # their rows by kind: gained, lost, both_right, both_wrong


@dataclass(frozen=True)
class Moves:
    """How the rank of the first right image changed, within the results that both runs kept."""

    kept: int
    up: int  # queries whose rank is better, or that have a right image only now
    down: int
    same: int
    found: int  # of `up`: the first run had no right image
    lost: int  # of `down`: the second run has no right image
    median: float | None  # of new rank − old rank, where both runs have a right image


def change(
    right_a: np.ndarray,
    right_b: np.ndarray,
    counted: np.ndarray,
    place: np.ndarray,
    interval: IntervalSettings,
    settings: CompareSettings,
) -> Change:
    """Arrays are [Q]: what each run found, which queries count, and their locations."""
    sides = (right_a[counted], right_b[counted])
    kinds = {
        "gained": ~right_a & right_b,
        "lost": right_a & ~right_b,
        "both_right": right_a & right_b,
        "both_wrong": ~right_a & ~right_b,
    }
    queries = {kind: np.flatnonzero(counted & is_of_it) for kind, is_of_it in kinds.items()}
    return Change(difference_interval(*sides, place[counted], interval, settings), queries)


def moves(right_a: np.ndarray, right_b: np.ndarray, counted: np.ndarray) -> Moves:
    """From whether each result [Q, K] is right; the runs may have kept different numbers K."""
    kept = min(right_a.shape[1], right_b.shape[1])
    a, b = (_first(right[counted, :kept]) for right in (right_a, right_b))
    both = (a <= kept) & (b <= kept)
    return Moves(
        kept,
        up=int((b < a).sum()),
        down=int((b > a).sum()),
        same=int((b == a).sum()),
        found=int(((a > kept) & (b <= kept)).sum()),
        lost=int(((a <= kept) & (b > kept)).sum()),
        median=float(np.median((b - a)[both])) if both.any() else None,
    )


def _first(right: np.ndarray) -> np.ndarray:
    """The rank, from 1, of the first right result [Q]; K + 1 if there is none."""
    return np.where(right.any(axis=1), right.argmax(axis=1) + 1, right.shape[1] + 1)


@dataclass(frozen=True)
class OverSeeds:
    """Recall averaged over seeds, with one interval for other seeds and one for other places."""

    mean: float
    spread: float  # standard deviation between seeds
    values: list[float]
    seeds_low: float  # interval of the mean over all seeds, on these queries
    seeds_high: float
    places_low: float  # interval of the mean of these seeds, at all places
    places_high: float


def over_seeds(
    right: Sequence[np.ndarray], place: np.ndarray, settings: IntervalSettings
) -> OverSeeds:
    """From whether each seed's network found each query [Q]; Student's t interval over seeds."""
    from scipy.special import stdtrit

    found = np.array(right, np.float64)  # S Q
    values = found.mean(axis=1)
    mean, spread = float(values.mean()), float(values.std(ddof=1))
    half = float(stdtrit(len(values) - 1, (1 + settings.level) / 2)) * spread / len(values) ** 0.5
    return OverSeeds(
        mean,
        spread,
        values.tolist(),
        max(mean - half, 0.0),
        min(mean + half, 1.0),
        *share_interval(found.mean(axis=0), place, settings),
    )


def check_seeds(runs: Sequence[Run]) -> dict[str, list[object]]:
    """Each seed's place in params.yaml → its values; refuses runs that differ otherwise."""
    first, *others = runs
    seeds: dict[str, list[object]] = {}
    for at, run in enumerate(others, 1):
        check_comparable(first, run)
        differing = different_params(first, run)
        more = [place for place in differing if place.rpartition(".")[2] != "seed"]
        if more:
            old, new = differing[more[0]]
            raise UserError(
                f"{first.name} and {run.name} differ in more than seeds: {more[0]} is {old} in the"
                f" one and {new} in the other; compare them without --seeds."
            )
        for place, (old, new) in differing.items():
            seeds.setdefault(place, [old] * len(runs))[at] = new
    draws = list(zip(*seeds.values(), strict=True)) or [()] * len(runs)
    for at, draw in enumerate(draws):
        if draw in draws[:at]:
            raise UserError(
                f"{runs[draws.index(draw)].name} and {runs[at].name} have the same seeds, so"
                " they are the same experiment: leave one of them out."
            )
    return seeds
