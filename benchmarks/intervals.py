"""Whether the intervals hold what they promise: `python -m benchmarks.intervals`."""

import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import typer

from vprlib.evaluate.intervals import (
    CompareSettings,
    IntervalSettings,
    difference_interval,
    share_interval,
)

TRUTH = 0.85  # of every share
INTERVAL = IntervalSettings()
TIMED = 8_280  # queries of pitts250k_test


@dataclass(frozen=True)
class Case:
    """Locations with so many queries each, whose recalls are drawn from a beta distribution."""

    name: str  # after the keys of the JSON
    sizes: tuple[int, ...]
    correlation: float  # between the answers at one location

    @property
    def label(self) -> str:
        few, many = min(self.sizes), max(self.sizes)
        each = f"{few}" if few == many else f"{few} to {many}"
        return f"{len(self.sizes)} × {each}, {self.correlation}"

    def place(self) -> np.ndarray:
        return np.repeat(np.arange(len(self.sizes)), self.sizes)

    def answers(self, draw: np.random.Generator) -> np.ndarray:
        """Whether each query is right [Q]."""
        return draw.random(sum(self.sizes)) < np.repeat(self._recalls(draw), self.sizes)

    def pair(self, draw: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Two runs without a difference; half of the queries are the same to both."""
        a, b = self.answers(draw), self.answers(draw)
        return a, np.where(draw.random(len(a)) < 0.5, a, b)

    def _recalls(self, draw: np.random.Generator) -> np.ndarray:
        if not self.correlation:
            return np.full(len(self.sizes), TRUTH)
        scale = 1 / self.correlation - 1
        return draw.beta(TRUTH * scale, (1 - TRUTH) * scale, len(self.sizes))


CASES = (
    Case("", (24,) * 300, 0.3),
    Case("_35", (9,) * 35, 0.3),
    Case("_independent_35", (9,) * 35, 0.0),
    Case("_alike_35", (9,) * 35, 0.6),
    Case("_unequal_35", (3, 3, 6, 9, 12) * 7, 0.3),
    Case("_city", (4,) * 110, 0.3),
)


def main(
    draws: int = typer.Option(2000, help="simulated sets a case"),
    pairs: int = typer.Option(1000, help="simulated pairs of runs without a difference"),
    json_path: Path | None = typer.Option(None, "--json"),
) -> None:
    """Coverage of 95 % intervals, false alarms of comparisons, and the time of 10,000 resamples."""
    found: dict[str, float] = {}
    print("locations, correlation      ours  queries alone  bootstrap  p < 0.05")
    for seed, case in enumerate(CASES):
        row = [
            coverage(case, draws, seed),
            coverage(case, draws, seed, as_if_alone=True),
            bootstrap_coverage(case, draws, seed),
            false_alarms(case, pairs, seed),
        ]
        names = ("coverage", "naive", "bootstrap", "false_alarms")
        found |= {f"{name}{case.name}": value for name, value in zip(names, row, strict=True)}
        figures = (f"{100 * value:.1f} %" for value in row)
        print("{:<25}{:>7}{:>15}{:>11}{:>10}".format(case.label, *figures))
    found["seconds"] = seconds()
    print(f"10,000 resamples on {TIMED:,} queries that all differ: {found['seconds']:.2f} s")
    if json_path is not None:
        json_path.write_text(json.dumps(found, indent=2) + "\n")


def coverage(case: Case, draws: int, seed: int, as_if_alone: bool = False) -> float:
    """Share of intervals that hold the truth; the naive ones take each query for a location."""
    draw = np.random.default_rng([1, seed])
    place = np.arange(sum(case.sizes)) if as_if_alone else case.place()
    ends = [share_interval(case.answers(draw), place, INTERVAL) for _ in range(draws)]
    return float(np.mean([low <= TRUTH <= high for low, high in ends]))


def bootstrap_coverage(case: Case, draws: int, seed: int, resamples: int = 1000) -> float:
    """Of the percentile bootstrap, which draws whole locations again."""
    draw = np.random.default_rng([1, seed])
    sizes, place = np.array(case.sizes), case.place()
    times = draw.multinomial(len(sizes), np.full(len(sizes), 1 / len(sizes)), resamples)
    right = np.array([np.bincount(place, case.answers(draw)) for _ in range(draws)])
    shares = (times @ right.T) / (times @ sizes)[:, None]
    low, high = np.quantile(shares, [0.025, 0.975], axis=0)
    return float(np.mean((low <= TRUTH) & (high >= TRUTH)))


def false_alarms(case: Case, pairs: int, seed: int) -> float:
    draw = np.random.default_rng([2, seed])
    place, settings = case.place(), CompareSettings(resamples=1000)
    found = [
        difference_interval(*case.pair(draw), place, INTERVAL, settings).p for _ in range(pairs)
    ]
    return float(np.mean(np.array(found) < 0.05))


def seconds() -> float:
    """Of the slowest comparison: every query is a location of its own, and all of them differ."""
    right = np.random.default_rng(3).random(TIMED) < 0.5
    start = time.perf_counter()
    difference_interval(right, ~right, np.arange(TIMED), INTERVAL, CompareSettings())
    return time.perf_counter() - start


if __name__ == "__main__":
    typer.run(main)
