"""Predictions of `recall` beside the truth that they were judged by."""

from dataclasses import dataclass
from pathlib import Path

import h5py

from vprlib.index import read_truth
from vprlib.predictions import Predictions, as_predictions
from vprlib.protocols import judged
from vprlib.recall import Protocol
from vprlib.truth import Truth


@dataclass(frozen=True)
class Judgement:
    """What was found, what is right, and by which protocol."""

    found: Predictions
    truth: Truth
    protocol: Protocol


def read_judgement(path: Path, db_index: Path, queries_index: Path) -> Judgement:
    """By the radius and the protocol that the predictions were made with."""
    found = as_predictions(path, queries_index, db_index)
    with h5py.File(path) as file:
        protocol = str(file.attrs["protocol"])
        radius_m = float(file.attrs["radius_m"]) if "radius_m" in file.attrs else None
    truth = read_truth(queries_index, found.queries, found.database, radius_m)
    return Judgement(found, judged(protocol, truth, found.database, found.queries), protocol)
