"""The optional CSV beside a specification: heading, light and what else no .mat has a field for."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vprlib.pipeline.params import UserError

COLUMNS = ("image", "heading", "light")


def read_metadata(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Column → a value for each of `names`, in their order; empty where there is no file."""
    if not path.exists():
        return {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file, restval=""))
    except UnicodeDecodeError as error:
        raise UserError(f"{path} should be UTF-8, but is not: {error}.") from None
    known = [c for c in COLUMNS[1:] if rows and c in rows[0]]
    if not rows or "image" not in rows[0] or not known:
        raise UserError(
            f"{path} should be a CSV with the columns {', '.join(COLUMNS)}, one row an image."
        )
    by_name = {row["image"]: row for row in rows}
    absent = [name for name in names if name not in by_name]
    if absent:
        raise UserError(f"{path} has no row for {len(absent)} images, such as '{absent[0]}'.")
    short = [name for name in names if not all(by_name[name][c] for c in known)]
    if short:
        raise UserError(f"{path}: the row of '{short[0]}' lacks a heading or a light.")
    found = {column: [by_name[name][column] for name in names] for column in known}
    return {column: _typed(column, values, path) for column, values in found.items()}


def _typed(column: str, values: list[str], path: Path) -> np.ndarray:
    if column != "heading":
        return np.array(values, dtype=object)
    try:
        return np.array(values, dtype=np.float64)
    except ValueError as error:
        raise UserError(f"{path}: heading should be degrees: {error}.") from None
