"""One experiment trained with several seeds: what it is worth on average."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vprlib.intervals import IntervalSettings, share_interval
from vprlib.params import UserError
from vprlib.runs import Run, check_comparable, other_params


@dataclass(frozen=True)
class OverSeeds:
    """Recall of the seeds' mean; one interval for other seeds, one for other places."""

    mean: float
    spread: float  # standard deviation between seeds
    values: list[float]
    seeds_low: float  # where the mean of all seeds lies, on these queries
    seeds_high: float
    places_low: float  # where the mean of these seeds lies, at all places
    places_high: float


def over_seeds(
    right: Sequence[np.ndarray], place: np.ndarray, settings: IntervalSettings
) -> OverSeeds:
    """From whether each seed's network found each query [Q]; Student's interval over seeds."""
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
    """The seeds of the runs by their place; refuses what differs in more than seeds, or in none."""
    first, *others = runs
    seeds: dict[str, list[object]] = {}
    for at, run in enumerate(others, 1):
        check_comparable(first, run)
        differing = other_params(first, run)
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
                f"{runs[draws.index(draw)].name} and {runs[at].name} have the same seeds: one of"
                " them says nothing new, leave it out."
            )
    return seeds
