"""A data set as its file or folder describes it: images, positions, and what is right."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from vprlib.pipeline.inside import Name, problem_of
from vprlib.pipeline.params import Metres, Section, UserError

METADATA_COLUMNS = ("image", "heading", "light")  # of the CSV that may lie beside a .mat


class Layout(Section):
    """The folders that names start from, and what the set's own file leaves open."""

    database_dir: Name = ""  # inside the folder of the data set
    queries_dir: Name = ""  # Pittsburgh's query names start from queries_real
    ground_truth: Literal["hard", "soft"] = "soft"  # the matrix that counts, where there are two
    # for CSV and @utm@ names; a .mat file has its own radii
    positive_radius_m: Metres = 25.0
    training_radius_m: Metres = 10.0


@dataclass(frozen=True)
class Lists:
    """What is right for each query of a set without positions: Q arrays of rising rows."""

    right: Sequence[np.ndarray]
    doubtful: Sequence[np.ndarray]  # neither right nor wrong
    training: Sequence[np.ndarray] | None = None  # positives in training; null: `right`


@dataclass(frozen=True)
class Specification:
    """The same for every kind of file, in metres and float64."""

    which_set: str
    database_names: list[str]
    database_positions: np.ndarray  # [D, 2]; NaN in a set with lists
    query_names: list[str]
    query_positions: np.ndarray  # [Q, 2]
    positive_radius_m: float  # nearer images are right; farther ones are negatives
    training_radius_m: float  # nearer images are positives in training
    database_times: np.ndarray | None = None  # [D], Tokyo Time Machine
    query_times: np.ndarray | None = None  # [Q]
    listed: Lists | None = None  # used in place of positions
    database_extra: Mapping[str, np.ndarray] = field(default_factory=dict)  # heading, light, time
    query_extra: Mapping[str, np.ndarray] = field(default_factory=dict)  # and box


def listed_specification(
    which_set: str,
    database: list[str],
    queries: list[str],
    lists: Lists,
    layout: Layout,
    query_extra: Mapping[str, np.ndarray] | None = None,
) -> Specification:
    """The specification of a set without positions."""
    return Specification(
        which_set=which_set,
        database_names=database,
        database_positions=np.full((len(database), 2), np.nan),
        query_names=queries,
        query_positions=np.full((len(queries), 2), np.nan),
        positive_radius_m=layout.positive_radius_m,
        training_radius_m=layout.training_radius_m,
        listed=lists,
        query_extra=query_extra or {},
    )


FARTHEST_M = 1e8  # twice the way round the earth


def check_names(specification: Specification, path: Path) -> None:
    """Names must not leave the data set's folder, and positions the earth."""
    s = specification
    for names, positions in (
        (s.database_names, s.database_positions),
        (s.query_names, s.query_positions),
    ):
        for row in np.flatnonzero((np.abs(positions) > FARTHEST_M).any(axis=1))[:1]:
            raise UserError(
                f"{path}: '{names[row]}' (row {row + 1} of its side) is at"
                f" {positions[row].tolist()}, but positions should be within ±{FARTHEST_M:g} m."
            )
    for name in (*specification.database_names, *specification.query_names):
        if problem := problem_of(name):
            raise UserError(f"{path}: the image name '{name}' {problem}.")
