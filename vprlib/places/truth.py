"""Which database images show the place of a query: those within a radius, or on a list."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np

from vprlib.images.index import SESSION, ImageIndex
from vprlib.pipeline.params import Metres
from vprlib.pipeline.stored import Stored, reading
from vprlib.places.geo import Pairs, count_within, pairs_within

_LISTS = ("right", "doubtful", "training")
_PARTS = ("starts", "rows")
RadiusOrOwn = Metres | None  # null: the set's own


@dataclass(frozen=True)
class Near:
    """Right is within the radius of the query, inclusive; positions in metres."""

    queries: np.ndarray  # [Q, 2] float64
    database: np.ndarray  # [D, 2]
    radius_m: float

    def is_right(self, rows: np.ndarray) -> np.ndarray:
        """Whether each retrieved database row [Q, K] shows the place of its query."""
        offsets = self.database[rows] - self.queries[:, None]  # Q K 2
        return np.einsum("qkd,qkd->qk", offsets, offsets) <= self.radius_m**2

    def is_doubtful(self, rows: np.ndarray) -> np.ndarray:
        """Whether each row is neither right nor wrong; it is removed before recall is computed."""
        return np.zeros(rows.shape, bool)

    def counts(self) -> np.ndarray:
        """The number of database images that show the place of each query [Q]."""
        return count_within(self.queries, self.database, self.radius_m)

    def positives(self) -> Pairs:
        """The database images that show the place of each query."""
        return pairs_within(self.queries, self.database, self.radius_m)

    def no_negatives(self) -> Pairs:
        """Images that must not be negatives: the positives and the doubtful ones."""
        return self.positives()

    def take(self, queries: np.ndarray | slice) -> Self:
        """The truth of these queries, in this order."""
        return replace(self, queries=self.queries[queries])

    @property
    def most_doubtful(self) -> int:
        """The largest number of doubtful images of a query."""
        return 0

    @property
    def database_size(self) -> int:
        return len(self.database)

    @property
    def allowed(self) -> np.ndarray | int:
        """How many database images may be found for each query."""
        return self.database_size


@dataclass(frozen=True)
class Apart(Near):
    """What is near and has another label than the query; what has the same is never counted.

    Labels are times in Tokyo Time Machine, and sessions in a folder of photographs.
    """

    query_labels: np.ndarray  # [Q]
    database_labels: np.ndarray  # [D]

    def is_right(self, rows: np.ndarray) -> np.ndarray:
        return super().is_right(rows) & ~self.is_doubtful(rows)

    def is_doubtful(self, rows: np.ndarray) -> np.ndarray:
        return self.database_labels[rows] == self.query_labels[:, None]

    def counts(self) -> np.ndarray:
        return self.positives().counts()

    def positives(self) -> Pairs:
        pairs = super().positives()
        differ = self.database_labels[pairs.rows] != self.query_labels[pairs.queries()]
        return pairs.keep(differ)

    def no_negatives(self) -> Pairs:
        return super().positives()

    def take(self, queries: np.ndarray | slice) -> Self:
        return replace(super().take(queries), query_labels=self.query_labels[queries])

    @property
    def most_doubtful(self) -> int:
        return int(self._same.max(initial=0))

    @property
    def allowed(self) -> np.ndarray:
        return self.database_size - self._same

    @property
    def _same(self) -> np.ndarray:
        """How many database images have the label of each query [Q]."""
        labels, counts = np.unique(self.database_labels, return_counts=True)
        by_label = dict(zip(labels.tolist(), counts.tolist(), strict=True))
        return np.array([by_label.get(one, 0) for one in self.query_labels.tolist()], np.int64)


def apart_by_session(
    truth: "Truth", queries: Mapping[str, np.ndarray], database: Mapping[str, np.ndarray]
) -> "Truth":
    """The truth without each query's own session, where sessions are known."""
    if not isinstance(truth, Near) or SESSION not in queries or SESSION not in database:
        return truth
    labels = queries[SESSION], database[SESSION]
    return Apart(truth.queries, truth.database, truth.radius_m, *labels)


@dataclass(frozen=True)
class Listed:
    """Right is what the set's lists say; it has no positions."""

    right: Pairs  # database rows that show the place of each query, rising
    doubtful: Pairs  # neither right nor wrong: no negatives in training, removed from rankings
    training: Pairs  # positives in training, some of what is right or doubtful
    database_size: int
    radius_m: None = None

    def is_right(self, rows: np.ndarray) -> np.ndarray:
        return self.right.contain(rows)

    def is_doubtful(self, rows: np.ndarray) -> np.ndarray:
        return self.doubtful.contain(rows)

    def counts(self) -> np.ndarray:
        return self.right.counts()

    def positives(self) -> Pairs:
        return self.right

    def no_negatives(self) -> Pairs:
        return self.right.joined(self.doubtful)

    def take(self, queries: np.ndarray | slice) -> Self:
        return replace(self, **{name: getattr(self, name).take(queries) for name in _LISTS})

    @property
    def most_doubtful(self) -> int:
        return int(self.doubtful.counts().max(initial=0))

    @property
    def allowed(self) -> int:
        return self.database_size


Truth = Near | Listed  # which retrieved images are right


def listed_arrays(listed: Listed | None) -> dict[str, np.ndarray]:
    """The lists as arrays for `write_index`; nothing for a set with positions."""
    return {
        f"{name}/{part}": getattr(getattr(listed, name), part)
        for name in (_LISTS if listed is not None else ())
        for part in _PARTS
    }


@dataclass(frozen=True)
class Radii:
    """The specification's own radii in metres."""

    positive_m: float  # nearer images are right; farther ones are negatives
    training_m: float  # nearer images are positives in training


def read_radii(queries_path: Path) -> Radii:
    with reading(queries_path) as file:
        return Radii(file.positive("positive_radius_m"), file.positive("training_radius_m"))


def read_listed(queries_path: Path, database_size: int) -> Listed | None:
    """The lists of the set; None for a set with positions."""
    with reading(queries_path) as file:
        if "truth" not in file:
            return None
        right, doubtful, training = (_read_pairs(file, name, database_size) for name in _LISTS)
        return Listed(right, doubtful, training, database_size)


def _read_pairs(file: Stored, name: str, database_size: int) -> Pairs:
    starts, rows = (
        file.array(f"truth/{name}/{part}", "i", size)
        for part, size in zip(_PARTS, ("S", name), strict=True)
    )
    is_rising = len(starts) and starts[0] == 0 and (np.diff(starts) >= 0).all()
    is_there = not len(rows) or 0 <= rows.min() <= rows.max() < database_size
    if not (is_rising and starts[-1] == len(rows) and is_there):
        file.refuse(f"'truth/{name}' is no list of database rows")
    return Pairs(starts, rows)


def read_truth(
    queries_path: Path, queries: ImageIndex, database: ImageIndex, radius_m: float | None
) -> Truth:
    """The truth of a set; `radius_m` replaces the specification's own radius."""
    listed = read_listed(queries_path, len(database))
    if listed is not None:
        return listed
    own = read_radii(queries_path).positive_m
    return Near(queries.positions, database.positions, radius_m or own)


def is_right(rows: np.ndarray, truth: Truth) -> np.ndarray:
    """Whether each row [Q, K] is right; -1 is no image."""
    return truth.is_right(np.maximum(rows, 0)) & (rows >= 0)


def recall_at(right: np.ndarray, ns: Sequence[int]) -> dict[int, float]:
    """N → share of the queries with a right image among their N nearest; `right` is [Q, K]."""
    if not right.size:
        return dict.fromkeys(ns, 0.0)
    found = np.maximum.accumulate(right, axis=1).mean(axis=0)
    return {n: float(found[min(n, right.shape[1]) - 1]) for n in ns}
