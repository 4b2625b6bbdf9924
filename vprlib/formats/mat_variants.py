"""Reads other forms of `dbStruct`: cell arrays (Berlin, Nordland) and truth matrices (RobotCar)."""

from pathlib import Path

import numpy as np

from vprlib.formats import mat
from vprlib.formats.mat import FieldNames, Fields
from vprlib.formats.specification import Layout, Lists, Specification, listed_specification
from vprlib.pipeline.params import UserError

# in the order of the cells
CELLS = ("dbImage", "locDb", "qImage", "locQ", "numDb", "numQ", "posDistThr", "posDistSqThr")
MATRICES = {"hard": "gtHard", "soft": "gtSoft"}


def read_cells(cells: np.ndarray, path: Path) -> Specification:
    """Images and positions by order of the cells; positions are N×2, or N×1 frame numbers.

    There is no training radius, so the set's radius (50 m in Berlin, 5 frames in Nordland) is
    used, as is usual for these sets; train.positive_radius_m narrows it.
    """
    values = [np.asarray(value) for value in cells.reshape(-1)]
    if len(values) != len(CELLS):
        raise UserError(
            f"{path}: dbStruct should be one struct with named fields, or a cell array of"
            f" {', '.join(CELLS)}, but is an array of {cells.dtype} with shape {cells.shape}."
        )
    by_name = dict(zip(CELLS, values, strict=True))
    database, queries = (mat.names(by_name[n], n, path) for n in ("dbImage", "qImage"))
    for field, found in (("numDb", database), ("numQ", queries)):
        declared = by_name[field].reshape(-1).tolist()
        if declared != [len(found)]:
            raise UserError(
                f"{path}: counts disagree: {len(found)} names, but {field} says {declared}."
            )
    radius_m = mat.positive_number(by_name["posDistThr"], "posDistThr", path)
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
    """N×2 or N×1, transposed if only that fits; a single column gets a second one of zeros."""
    values = by_name[field]
    is_number = values.dtype.kind in "biuf" and values.ndim == 2
    if is_number and values.shape not in ((count, 2), (count, 1)):
        values = values.T
    if not is_number or values.shape not in ((count, 2), (count, 1)):
        raise UserError(
            f"{path}: {field} should be a matrix of {count}×2 metres or {count}×1 frame numbers,"
            f" one row per image, but is {by_name[field].dtype} with shape {by_name[field].shape}."
        )
    column = np.zeros((count, 2 - values.shape[1]))
    return mat.finite(np.concatenate([values, column], axis=1), field, path)


def is_matrices(fields: Fields) -> bool:
    """Whether there are matrices and no positions; positions are preferred."""
    has_positions = "utmDb" in fields and "utmQ" in fields
    return not has_positions and any(name in fields for name in MATRICES.values())


def read_matrices(fields: Fields, path: Path, layout: Layout) -> Specification:
    """Images marked in the matrix of `layout.ground_truth`, or the only matrix, are right.

    Images marked in the other matrix alone are doubtful. Training positives are those of gtHard,
    where there is one.
    """
    called = mat.field_names(fields)
    mat.require(fields, [called.database, called.queries], path)
    database, queries = (mat.names(fields[n], n, path) for n in (called.database, called.queries))
    counts = {called.database: len(database), called.queries: len(queries)}
    mat.check_counts(fields, called, counts, path)
    if "posDistThr" in fields:
        radius_m = mat.positive_number(fields["posDistThr"], "posDistThr", path)
        layout = layout.model_copy(update={"positive_radius_m": radius_m})
    name = mat.text(fields.get("whichSet", np.array("")))
    lists = _lists(fields, called, layout, counts, path)
    return listed_specification(name, database, queries, lists, layout)


def _lists(
    fields: Fields, called: FieldNames, layout: Layout, counts: dict[str, int], path: Path
) -> Lists:
    """Column by column, so that no matrix is converted to a larger type as a whole."""
    shape = counts[called.database], counts[called.queries]
    found = {kind: fields[name] for kind, name in MATRICES.items() if name in fields}
    for kind, matrix in found.items():
        if matrix.dtype.kind not in "biuf" or matrix.shape != shape:
            raise UserError(
                f"{path}: {MATRICES[kind]} should be a matrix of {shape[0]} database images ×"
                f" {shape[1]} queries, but is {matrix.dtype} with shape {matrix.shape}."
            )
        if matrix.size and not (matrix.min() >= 0 and matrix.max() <= 1):  # NaN is refused too
            raise UserError(
                f"{path}: {MATRICES[kind]} should hold 0 and 1, but goes from {matrix.min()} to"
                f" {matrix.max()}."
            )
    strict = found["hard"] if "hard" in found else found["soft"]
    right = found.pop(layout.ground_truth if layout.ground_truth in found else next(iter(found)))
    rows, doubtful, training = [], [], []
    for query in range(shape[1]):
        rows.append(np.flatnonzero(right[:, query]))
        training.append(np.flatnonzero(strict[:, query]))
        others = [np.flatnonzero(matrix[:, query]) for matrix in found.values()]
        doubtful.append(np.setdiff1d(np.concatenate([*others, rows[-1]]), rows[-1]))
    return Lists(rows, doubtful, training)
