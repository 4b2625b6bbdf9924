"""A specification and the folder of its images: two indices and what can be counted at once."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vprlib.dbstruct import Specification
from vprlib.geo import chance_recall, count_within, locations
from vprlib.index import ImageIndex, build_index
from vprlib.metadata import read_metadata
from vprlib.params import Section, UserError


class Layout(Section):
    """Which folder, inside that of the data set, the names of a specification start from."""

    database_dir: str = ""
    queries_dir: str = ""  # Pittsburgh's query names start from queries_real


@dataclass(frozen=True)
class Summary:
    """What a set looks like before any network sees it; the radii are the specification's own."""

    database: int
    queries: int
    database_positions: int  # distinct ones
    query_positions: int
    query_locations_1m: int  # by greedy leader clustering
    positive_radius_m: float
    queries_without_positive: int
    mean_positives: float
    chance_recall_1: float
    training_radius_m: float
    queries_without_training_positive: int
    mean_training_positives: float

    def sentence(self) -> str:
        return (
            f"{self.database} database images, {self.queries} queries at"
            f" {self.query_positions} positions, {self.queries_without_positive} without a"
            f" positive at {self.positive_radius_m:g} m, chance recall@1 {self.chance_recall_1:.4f}"
        )


def build_indices(
    set_name: str,
    specification: Specification,
    folder: Path,
    metadata_path: Path,
    layout: Layout,
    workers: int,
) -> tuple[ImageIndex, ImageIndex]:
    """Database and queries; every image is opened."""
    s = specification
    _check_not_empty(s, set_name)
    metadata = read_metadata(metadata_path, [*s.database_names, *s.query_names])
    cut = len(s.database_names)
    sides = (
        (s.database_names, s.database_positions, s.database_times, layout.database_dir, slice(cut)),
        (s.query_names, s.query_positions, s.query_times, layout.queries_dir, slice(cut, None)),
    )
    indices = []
    for names, positions, times, subfolder, part in sides:
        extra = {column: values[part] for column, values in metadata.items()}
        extra |= {} if times is None else {"time": times}
        paths = [f"{subfolder}/{name}".lstrip("/") for name in names]
        indices.append(build_index(set_name, paths, positions, folder, extra, workers))
    return indices[0], indices[1]


def summarise(specification: Specification) -> Summary:
    s = specification
    right = count_within(s.query_positions, s.database_positions, s.positive_radius_m)
    training = count_within(s.query_positions, s.database_positions, s.training_radius_m)
    return Summary(
        database=len(s.database_names),
        queries=len(s.query_names),
        database_positions=len(np.unique(s.database_positions, axis=0)),
        query_positions=len(np.unique(s.query_positions, axis=0)),
        query_locations_1m=int(locations(s.query_positions).max(initial=-1)) + 1,
        positive_radius_m=s.positive_radius_m,
        queries_without_positive=int((right == 0).sum()),
        mean_positives=float(right.mean()),
        chance_recall_1=chance_recall(right, len(s.database_names)),
        training_radius_m=s.training_radius_m,
        queries_without_training_positive=int((training == 0).sum()),
        mean_training_positives=float(training.mean()),
    )


def _check_not_empty(specification: Specification, set_name: str) -> None:
    s = specification
    for side, names in (("database", s.database_names), ("query", s.query_names)):
        if not names:
            raise UserError(f"the specification of {set_name} names no {side} image.")
    if not count_within(s.query_positions, s.database_positions, s.positive_radius_m).any():
        raise UserError(
            f"no query of {set_name} has a database image within {s.positive_radius_m:g} m:"
            " check that both sides use the same coordinates, in metres."
        )
