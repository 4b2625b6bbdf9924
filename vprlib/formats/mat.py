"""Reads and writes `dbStruct` as a struct with named fields, by MATLAB or by Python."""

import hashlib
from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vprlib.formats.matfile import cell, mat_bytes, read_mat
from vprlib.formats.specification import Specification
from vprlib.pipeline.params import UserError

Fields = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class FieldNames:
    """The names of the fields in one dialect."""

    database: str
    queries: str
    database_count: str
    query_count: str


OFFICIAL = FieldNames("dbImageFns", "qImageFns", "numImages", "numQueries")
FROM_PYTHON = FieldNames("dbImage", "qImage", "numDb", "numQ")


def read_db_struct(path: Path) -> np.ndarray:
    """The variable `dbStruct`: a struct with named fields, or a cell array."""
    content = read_mat(path)
    if "dbStruct" not in content:
        found = ", ".join(content) or "nothing"
        raise UserError(f"{path} holds no variable 'dbStruct', but {found}.")
    return content["dbStruct"]


def fields_of(struct: np.ndarray, path: Path) -> dict[str, np.ndarray]:
    """Name → value of a struct with one record."""
    assert struct.dtype.names is not None
    if struct.size != 1:
        raise UserError(
            f"{path}: dbStruct should be one struct with named fields,"
            f" but is an array of them with shape {struct.shape}."
        )
    record = struct.reshape(-1)[0]
    fields = {name: record[name] for name in struct.dtype.names}
    for name, value in fields.items():
        if not isinstance(value, np.ndarray):
            raise UserError(
                f"{path}: {name} should be a plain array, but is {type(value).__name__}."
            )
    return fields


def text(value: np.ndarray) -> str:
    """The string in a nested array, without the blanks that MATLAB pads matrices with."""
    while value.dtype == object and value.size:
        value = np.asarray(value.reshape(-1)[0])
    return str(value.reshape(-1)[0]).rstrip(" \0") if value.size else ""


def names(values: np.ndarray, place: str, path: Path) -> list[str]:
    """Names in a cell array, or in the rows of a character matrix."""
    if values.dtype.kind not in "OU":
        raise UserError(
            f"{path}: {place} should be names in a cell array or a character matrix,"
            f" but holds {values.dtype}."
        )
    found = [text(np.asarray(value)) for value in values.reshape(-1)]
    if "" in found:
        raise UserError(f"{path}: {place} has an empty name at place {found.index('')}.")
    return found


def finite(values: np.ndarray, place: str, path: Path) -> np.ndarray:
    """Positions [N, 2] in float64; NaN and infinity are refused."""
    positions = np.ascontiguousarray(values, dtype=np.float64)
    if not np.isfinite(positions).all():
        row = int(np.argmin(np.isfinite(positions).all(axis=1)))
        raise UserError(f"{path}: {place} is not a finite number at place {row}.")
    return positions


def positive_number(values: np.ndarray, place: str, path: Path) -> float:
    """A scalar as float: the files store uint8 and uint16, whose arithmetic overflows."""
    is_number = values.dtype.kind in "biuf" and values.size == 1
    if not is_number or not 0 < float(values.reshape(-1)[0]) < np.inf:
        raise UserError(
            f"{path}: {place} should be one positive number,"
            f" but is {values.reshape(-1)[:3]} of shape {values.shape}."
        )
    return float(values.reshape(-1)[0])


def field_names(fields: Fields) -> FieldNames:
    is_python = FROM_PYTHON.database in fields or FROM_PYTHON.queries in fields
    return FROM_PYTHON if is_python and OFFICIAL.database not in fields else OFFICIAL


def read_struct(fields: Fields, path: Path) -> Specification:
    """Images and positions by field name, with or without time stamps.

    A file written from Python may lack the training radius; then the set's radius is used.
    """
    called = field_names(fields)
    needed = [called.database, "utmDb", called.queries, "utmQ", "posDistThr"]
    squared = "nonTrivPosDistSqThr"
    require(fields, needed + [squared] * (called is OFFICIAL), path)
    database, queries = (names(fields[n], n, path) for n in (called.database, called.queries))
    radius_m = positive_number(fields["posDistThr"], "posDistThr", path)
    specification = Specification(
        which_set=text(fields.get("whichSet", np.array(""))),
        database_names=database,
        database_positions=_positions(fields, "utmDb", len(database), path),
        query_names=queries,
        query_positions=_positions(fields, "utmQ", len(queries), path),
        positive_radius_m=radius_m,
        training_radius_m=radius_m
        if squared not in fields
        else float(np.sqrt(positive_number(fields[squared], squared, path))),
        database_times=_times(fields, "dbTimeStamp", path),
        query_times=_times(fields, "qTimeStamp", path),
    )
    counts: dict[str, Sized | None] = {
        called.database: database,
        "utmDb": specification.database_positions,
        called.queries: queries,
        "utmQ": specification.query_positions,
        "dbTimeStamp": specification.database_times,
        "qTimeStamp": specification.query_times,
    }
    there = {field: len(values) for field, values in counts.items() if values is not None}
    check_counts(fields, called, there, path)
    return specification


def require(fields: Fields, needed: Sequence[str], path: Path) -> None:
    for name in needed:
        if name not in fields:
            raise UserError(
                f"{path}: dbStruct lacks the field '{name}'; it has {', '.join(fields)}."
            )


def check_counts(fields: Fields, called: FieldNames, counts: Mapping[str, int], path: Path) -> None:
    """Compares the entries of each field with the declared number, or the number of names."""
    for field, count in counts.items():
        is_database = field in (called.database, "utmDb", "dbTimeStamp")
        total = called.database_count if is_database else called.query_count
        first = called.database if is_database else called.queries
        values = fields.get(total, np.array([counts[first]]))
        declared = values.reshape(-1)[0] if values.size == 1 else f"{values.size} values"
        if count != declared:
            raise UserError(
                f"{path}: counts disagree: {field} has {count} entries,"
                f" but {total if total in fields else first} says {declared}."
            )


def specification_bytes(specification: Specification, note: str = "") -> bytes:
    """The official struct as a MATLAB v5 file, with small integers like the official files.

    The header holds `note` and its digest in place of scipy's date: equal content gives equal
    bytes, and a note about the images changes the file when they change.
    """
    s = specification
    struct = {
        "whichSet": s.which_set,
        "dbImageFns": cell(s.database_names).T,
        "utmDb": s.database_positions.T,
        **({} if s.database_times is None else {"dbTimeStamp": s.database_times[None]}),
        "qImageFns": cell(s.query_names).T,
        "utmQ": s.query_positions.T,
        **({} if s.query_times is None else {"qTimeStamp": s.query_times[None]}),
        "numImages": _small(len(s.database_names)),
        "numQueries": _small(len(s.query_names)),
        "posDistThr": _small(s.positive_radius_m),
        "posDistSqThr": _small(s.positive_radius_m**2),
        "nonTrivPosDistSqThr": _small(s.training_radius_m**2),
    }
    digest = hashlib.sha256(note.encode()).hexdigest()[:16]
    return mat_bytes({"dbStruct": struct}, f"{digest}, {note}", compress=True)


def _positions(fields: Fields, field: str, count: int, path: Path) -> np.ndarray:
    """2×N as in the official files, or N×2 if only that fits."""
    values = fields[field]
    is_number = values.dtype.kind in "biuf" and values.ndim == 2
    if is_number and values.shape[0] != 2 and values.shape == (count, 2):
        values = values.T
    if not is_number or values.shape[0] != 2:
        raise UserError(
            f"{path}: {field} should be a 2×N matrix of metres,"
            f" but is {values.dtype} with shape {values.shape}."
        )
    return finite(values.T, field, path)


def _times(fields: Fields, field: str, path: Path) -> np.ndarray | None:
    if field not in fields:
        return None
    values = fields[field].reshape(-1)
    if values.dtype.kind not in "biuf":
        raise UserError(f"{path}: {field} should hold numbers, but holds {values.dtype}.")
    return values.astype(np.float64)


def _small(value: float) -> np.ndarray:
    """The smallest unsigned integer type that holds the number, as MATLAB users store it."""
    return np.array(value if value % 1 else np.min_scalar_type(int(value)).type(value))
