"""What a file or folder says of a data set: which images there are, where, and what is right."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
from pydantic import Field

from vprlib.pipeline.params import Section, UserError


class Layout(Section):
    """Which folder the names start from, and what a dialect leaves open."""

    database_dir: str = ""  # inside the folder of the data set
    queries_dir: str = ""  # Pittsburgh's query names start from queries_real
    ground_truth: Literal["hard", "soft"] = "soft"  # which matrix is right, where there are two
    # for dialects without radii of their own: CSV, @utm@ names; a .mat keeps its own
    positive_radius_m: float = Field(25.0, gt=0)
    training_radius_m: float = Field(10.0, gt=0)


@dataclass(frozen=True)
class Lists:
    """What is right for each query, where no positions tell: rising database rows, Q arrays."""

    right: Sequence[np.ndarray]
    doubtful: Sequence[np.ndarray]  # neither right nor wrong
    training: Sequence[np.ndarray] | None = None  # positives in training; none: what is right


@dataclass(frozen=True)
class Specification:
    """What a specification says, in metres and float64, whatever dialect it was read from."""

    which_set: str
    database_names: list[str]
    database_positions: np.ndarray  # [D, 2]; NaN where lists tell what is right
    query_names: list[str]
    query_positions: np.ndarray  # [Q, 2]
    positive_radius_m: float  # a retrieved image this near is right; a farther one is a negative
    training_radius_m: float  # a training positive is this near
    database_times: np.ndarray | None = None  # [D], Tokyo Time Machine
    query_times: np.ndarray | None = None  # [Q]
    listed: Lists | None = None  # the truth in place of positions
    database_extra: Mapping[str, np.ndarray] = field(default_factory=dict)  # heading, light, time
    query_extra: Mapping[str, np.ndarray] = field(default_factory=dict)  # and box


def without_positions(count: int) -> np.ndarray:
    return np.full((count, 2), np.nan)


def check_names(specification: Specification, path: Path) -> None:
    """No name may lead out of the data set's folder."""
    for name in (*specification.database_names, *specification.query_names):
        parts = PurePosixPath(name.replace("\\", "/"))
        if parts.is_absolute() or ".." in parts.parts:
            raise UserError(f"{path}: the image name '{name}' leaves the data set's folder.")
