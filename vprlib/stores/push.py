"""Fills a version of a map, and goes on where an earlier push was cut off."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from vprlib.descriptors.rows import Reader, Rows
from vprlib.pipeline.params import JsonObject, UserError
from vprlib.pipeline.progress import progress
from vprlib.stores.store import Version

BATCH_BYTES = 2**22  # of vectors; larger ones are not faster
MOST_ROWS = 4096
# what is stored with each of the rows
Payloads = Callable[[np.ndarray], Sequence[JsonObject]]


@dataclass(frozen=True)
class Pushed:
    before: int  # rows that were there
    rows: int  # that were written now


def push(version: Version, descriptors: Rows, kept: np.ndarray, payloads: Payloads) -> Pushed:
    """Writes the rows of `kept` (rising) that are missing; a row's number is its point."""
    there = version.stored()
    if len(strange := np.setdiff1d(there, kept)):
        raise UserError(
            f"the map has {len(strange)} rows that the set lacks, such as {strange[0]}: drop this"
            " version, and push it again."
        )
    missing = np.setdiff1d(kept, there)
    size = max(1, min(MOST_ROWS, BATCH_BYTES // (4 * descriptors.shape[1])))
    reader = Reader(descriptors, size, among=missing)
    starts = reader.blocks() if len(missing) else range(0)
    for start in progress(starts, len(starts), "pushing", "batch"):
        rows = missing[start : start + size]
        numbers = version.facts.numbers(reader.block(start))
        _check_finite(numbers, rows)
        version.write(rows, numbers, payloads(rows))
    version.finish()
    return Pushed(len(there), len(missing))


def _check_finite(numbers: np.ndarray, rows: np.ndarray) -> None:
    is_finite = np.isfinite(numbers).all(axis=1)
    if not is_finite.all():
        raise UserError(
            f"the descriptor of row {rows[~is_finite][0]} is not finite: the network that made it"
            " is broken; train it again."
        )
