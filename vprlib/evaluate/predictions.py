"""What a search found for the queries of a set, and the truth that it is judged by."""

from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args

import numpy as np

from vprlib.evaluate.protocols import judged
from vprlib.evaluate.recall import Protocol
from vprlib.images.index import ImageIndex, read_index
from vprlib.pipeline.params import UserError
from vprlib.pipeline.paths import existing
from vprlib.pipeline.stored import LARGEST, reading
from vprlib.places.truth import Truth, read_truth


@dataclass(frozen=True)
class Predictions:
    """What `recall` found for the queries of a set."""

    rows: np.ndarray  # [Q, K] of the database, nearest first; -1 where no more are left
    distances: np.ndarray  # [Q, K]
    right: np.ndarray  # [Q, K]
    queries: ImageIndex
    database: ImageIndex

    def pairs(self) -> list[list[int]]:
        """Query and rank, from zero, of all that was found."""
        return np.argwhere(self.rows >= 0).tolist()


def read_predictions(path: Path, index_dir: Path) -> Predictions:
    """The predictions and both sides of the set that they were made on."""
    queries_index, db_index = index_dir / "queries.h5", index_dir / "db.h5"
    for needed in (path, queries_index, db_index):
        existing(needed)
    queries, database = read_index(queries_index), read_index(db_index)
    with reading(path) as file:
        kinds = {"indices": "i", "distances": "f", "hits": "b"}
        rows, distances, right = (file.array(name, kind, "Q N") for name, kind in kinds.items())
        is_distance = (distances >= 0) & (distances < LARGEST)
        if not (is_distance | (rows < 0)).all():
            file.refuse("'distances' has values that are no distances")
    if len(rows) != len(queries) or rows.max(initial=-1) >= len(database):
        raise UserError(
            f"{path} has {len(rows)} queries and database rows up to {rows.max(initial=-1)}, but"
            f" {queries_index.parent} holds {len(queries)} queries and {len(database)} database"
            " images: run `dvc repro` so that both are of the same set."
        )
    return Predictions(rows, distances, right, queries, database)


@dataclass(frozen=True)
class Judgement:
    """What was found, what is right, and by which protocol."""

    found: Predictions
    truth: Truth
    protocol: Protocol
    frames: int = 1  # of the sequences that were searched


def read_judgement(path: Path, index_dir: Path) -> Judgement:
    """By the radius and the protocol that the predictions were made with."""
    found = read_predictions(path, index_dir)
    with reading(path) as file:
        protocol = cast(Protocol, file.text("protocol"))
        radius_m = file.positive("radius_m") if file.has_attribute("radius_m") else None
        frames = int(file.number("frames")) if file.has_attribute("frames") else 1
        if protocol not in get_args(Protocol):
            file.refuse(f"its protocol is '{protocol}'")
    truth = read_truth(index_dir / "queries.h5", found.queries, found.database, radius_m)
    seen = judged(protocol, truth, found.database, found.queries)
    return Judgement(found, seen, protocol, frames)
