"""Reads `dbStruct` as a cell array without names: Berlin Kudamm, Nordland."""

from pathlib import Path

import numpy as np

from vprlib.matvalues import finite, names, positive_number
from vprlib.params import UserError
from vprlib.specification import Specification

# in the order in which they stand
CELLS = ("dbImage", "locDb", "qImage", "locQ", "numDb", "numQ", "posDistThr", "posDistSqThr")


def read_cells(cells: np.ndarray, path: Path) -> Specification:
    """Images and their positions by place; positions are N×2, or one column of frame numbers.

    The dialect has no training radius. Its users draw positives from all within the set's own
    radius (50 m in Berlin, 5 frames in Nordland), and so it is the training radius too; a
    recipe's train.positive_radius_m narrows it.
    """
    values = [np.asarray(value) for value in cells.reshape(-1)]
    if len(values) != len(CELLS):
        raise UserError(
            f"{path}: dbStruct should be one struct with named fields, or a cell array of"
            f" {', '.join(CELLS)}, but is an array of {cells.dtype} with shape {cells.shape}."
        )
    by_name = dict(zip(CELLS, values, strict=True))
    database, queries = (names(by_name[n], n, path) for n in ("dbImage", "qImage"))
    for field, found in (("numDb", database), ("numQ", queries)):
        declared = by_name[field].reshape(-1).tolist()
        if declared != [len(found)]:
            raise UserError(
                f"{path}: counts disagree: {len(found)} names, but {field} says {declared}."
            )
    radius_m = positive_number(by_name["posDistThr"], "posDistThr", path)
    return Specification(
        which_set="",
        database_names=database,
        database_positions=_positions(by_name, "locDb", len(database), path),
        query_names=queries,
        query_positions=_positions(by_name, "locQ", len(queries), path),
        positive_radius_m=radius_m,
        training_radius_m=radius_m,
    )


def _positions(by_name: dict[str, np.ndarray], field: str, count: int, path: Path) -> np.ndarray:
    """N×2 or N×1; the transposed where only that fits; a lone column gets a second one of zeros."""
    values = by_name[field]
    is_number = values.dtype.kind in "biuf" and values.ndim == 2
    if is_number and values.shape not in ((count, 2), (count, 1)):
        values = values.T
    if not is_number or values.shape not in ((count, 2), (count, 1)):
        raise UserError(
            f"{path}: {field} should be a matrix of {count}×2 metres or {count}×1 frame numbers,"
            f" one row an image, but is {by_name[field].dtype} with shape {by_name[field].shape}."
        )
    column = np.zeros((count, 2 - values.shape[1]))
    return finite(np.concatenate([values, column], axis=1), field, path)
