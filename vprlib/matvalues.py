"""Turns what MATLAB or Python stored in a `.mat` file into plain values."""

from pathlib import Path

import numpy as np

from vprlib.matfile import read_mat
from vprlib.params import UserError


def read_db_struct(path: Path) -> np.ndarray:
    """The variable `dbStruct`: one record with named fields, or a cell array."""
    content = read_mat(path)
    if "dbStruct" not in content:
        found = ", ".join(content) or "nothing"
        raise UserError(f"{path} holds no variable 'dbStruct', but {found}.")
    return content["dbStruct"]


def fields_of(struct: np.ndarray, path: Path) -> dict[str, np.ndarray]:
    """Name → value of a struct's only record."""
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
    """The string in an array, however deeply nested; MATLAB pads rows of a matrix with blanks."""
    while value.dtype == object and value.size:
        value = np.asarray(value.reshape(-1)[0])
    return str(value.reshape(-1)[0]).rstrip(" \0") if value.size else ""


def names(values: np.ndarray, place: str, path: Path) -> list[str]:
    """A cell array of names, or a character matrix with a padded name a row."""
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
    """Positions [N, 2] in float64, none of which is NaN or infinite."""
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
