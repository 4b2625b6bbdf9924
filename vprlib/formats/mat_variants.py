"""Reads what is right from matrices gtHard and gtSoft, as RobotCar's multi-domain sets have it."""

from pathlib import Path

import numpy as np

from vprlib.formats.mat import (
    FieldNames,
    Fields,
    check_counts,
    field_names,
    finite,
    names,
    positive_number,
    require,
    text,
)
from vprlib.formats.specification import Layout, Lists, Specification, without_positions
from vprlib.pipeline.params import UserError

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


MATRICES = {"hard": "gtHard", "soft": "gtSoft"}


def is_matrices(fields: Fields) -> bool:
    """Whether matrices are all there is: where positions stand beside them, positions count."""
    has_positions = "utmDb" in fields and "utmQ" in fields
    return not has_positions and any(name in fields for name in MATRICES.values())


def read_matrices(fields: Fields, path: Path, layout: Layout) -> Specification:
    """Right is what the matrix of `layout.ground_truth` marks, or the only one there is; what
    another adds is doubtful.

    Training positives are those of gtHard wherever it is there.
    """
    called = field_names(fields)
    require(fields, [called.database, called.queries], path)
    database, queries = (names(fields[n], n, path) for n in (called.database, called.queries))
    counts = {called.database: len(database), called.queries: len(queries)}
    check_counts(fields, called, counts, path)
    own_m = (
        positive_number(fields["posDistThr"], "posDistThr", path)
        if "posDistThr" in fields
        else layout.positive_radius_m
    )
    return Specification(
        which_set=text(fields.get("whichSet", np.array(""))),
        database_names=database,
        database_positions=without_positions(len(database)),
        query_names=queries,
        query_positions=without_positions(len(queries)),
        positive_radius_m=own_m,
        training_radius_m=layout.training_radius_m,
        listed=_lists(fields, called, layout, counts, path),
    )


def _lists(
    fields: Fields, called: FieldNames, layout: Layout, counts: dict[str, int], path: Path
) -> Lists:
    """Column by column, so that no matrix is ever held as anything wider than its bytes."""
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
    strict = found.get("hard", found.get("soft"))
    right = found.pop(layout.ground_truth if layout.ground_truth in found else next(iter(found)))
    rows, doubtful, training = [], [], []
    for query in range(shape[1]):
        rows.append(np.flatnonzero(right[:, query]))
        training.append(np.flatnonzero(strict[:, query]))
        others = [np.flatnonzero(matrix[:, query]) for matrix in found.values()]
        doubtful.append(np.setdiff1d(np.concatenate([*others, rows[-1]]), rows[-1]))
    return Lists(rows, doubtful, training)
