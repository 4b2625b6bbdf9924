"""Reads what is right from matrices gtHard and gtSoft, as RobotCar's multi-domain sets have it."""

from pathlib import Path

import numpy as np

from vprlib.dbstruct import FieldNames, Fields, check_counts, field_names, require
from vprlib.layout import Layout
from vprlib.matvalues import names, positive_number, text
from vprlib.params import UserError
from vprlib.specification import Lists, Specification, without_positions

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
