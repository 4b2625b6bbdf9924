"""Chooses the photographs that a map's visual words come from, once: a map that grows keeps them.

Other words would make another network, by which everything had to be described anew.
"""

import csv
from collections.abc import Sequence
from pathlib import Path

from vprlib.pipeline.draws import choose_rows

HEADER = ("path", "role", "session")


def choose_words(
    path: Path, database: Sequence[str], wanted: int, seed: int
) -> tuple[list[str], str]:
    """Names of the photographs, and why they are others than the list at `path` has.

    Others are chosen where half of those have gone from the database, and where they were all that
    there were and there are twice as many now.
    """
    before = _listed(path)
    left = len({*before} & {*database})
    reason = ""
    if before and left < len(before) / 2:
        reason = f"only {left} of the {len(before)} photographs that they came from are left"
    elif before and len(before) < wanted and 2 * len(before) <= len(database):
        reason = f"there were {len(before)} photographs"
    if before and not reason:
        return before, ""
    rows = choose_rows(len(database), wanted, seed)
    return [database[row] for row in rows.tolist()], reason


def _listed(path: Path) -> list[str]:
    """Nothing where there is no list yet, or none that can be read."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [row["path"] for row in csv.DictReader(file)]
    except (OSError, ValueError, KeyError, csv.Error):
        return []
