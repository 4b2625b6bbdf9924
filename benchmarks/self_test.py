"""Does the self-test of photographs tell how often new ones will be found?

The city's test set as photographs: its database, and half of its queries' places, with sessions by
light. The other half is asked without its positions. Run `dvc repro` first.
"""

import h5py
import numpy as np
import typer

from vprlib.evaluate.intervals import IntervalSettings, mean_of_groups, share_interval
from vprlib.pipeline import paths
from vprlib.places.geo import locations
from vprlib.places.truth import Apart, Near

RADIUS_M = 25.0
ASKED = 500  # photographs of the self-test


def read(variant: str, side: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Descriptors, positions and light of one side."""
    with h5py.File(paths.descriptors("city_test", variant, "full", side)) as file:
        vectors = file["descriptors"][:].astype(np.float32)
    with h5py.File(paths.index("city_test", side)) as file:
        return vectors, file["positions"][:], file["extra/light"].asstr()[:].astype(str)


def first_answers(asked: np.ndarray, known: np.ndarray, is_shown: np.ndarray) -> np.ndarray:
    """The most similar row for each that is asked, among those shown to it [Q, N]."""
    return np.where(is_shown, asked @ known.T, -np.inf).argmax(axis=1)


def draw(variant: str, seed: int) -> tuple[float, tuple[float, ...], tuple[float, ...]]:
    """The true recall, the pooled one with its interval, and the mean of sessions with its own."""
    (database, at, _), (queries, asked_at, light) = read(variant, "db"), read(variant, "queries")
    rng = np.random.default_rng(seed)
    place = locations(asked_at, 1.0)
    hidden = np.isin(place, rng.permutation(place.max() + 1)[: (place.max() + 1) // 2])
    known = np.concatenate([database, queries[~hidden]])
    where = np.concatenate([at, asked_at[~hidden]])
    session = np.concatenate([np.full(len(at), "car"), light[~hidden]])

    everything = np.ones((int(hidden.sum()), len(known)), bool)
    rows = first_answers(queries[hidden], known, everything)
    true = Near(asked_at[hidden], where, RADIUS_M).is_right(rows[:, None]).mean()

    labels = np.unique(session)
    each = [np.flatnonzero(session == label) for label in labels]
    drawn = np.concatenate([rng.permutation(rows)[: ASKED // len(labels)] for rows in each])
    truth = Apart(where[drawn], where, RADIUS_M, session[drawn], session)
    drawn = drawn[truth.counts() > 0]
    truth = Apart(where[drawn], where, RADIUS_M, session[drawn], session)
    shown = session[drawn][:, None] != session[None]
    right = truth.is_right(first_answers(known[drawn], known, shown)[:, None])[:, 0]
    settings = IntervalSettings()
    pooled = share_interval(right, locations(where[drawn], RADIUS_M), settings)
    return float(true), (right.mean(), *pooled), mean_of_groups(right, session[drawn], settings)


def main(count: int = typer.Option(10, "--draws")) -> None:
    """Prints the truth and both intervals of each draw."""
    for variant in ("off_the_shelf", "trained"):
        held = np.zeros(2, int)
        for seed in range(count):
            true, *found = draw(variant, seed)
            held += [low <= true <= high for _, low, high in found]
            shown = ", ".join(f"{m:.3f} [{low:.3f}, {high:.3f}]" for m, low, high in found)
            print(f"{variant}, draw {seed}: true {true:.3f}; pooled, mean of sessions: {shown}")
        print(f"{variant}: pooled held it in {held[0]}, mean of sessions in {held[1]} of {count}")


if __name__ == "__main__":
    typer.run(main)
