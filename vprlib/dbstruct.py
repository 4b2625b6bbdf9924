"""Reads and writes `dbStruct` specification files: which images there are, and where."""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import scipy.io

from vprlib.params import UserError

_HEADER_BYTES = 116
_NEEDED = ("dbImageFns", "utmDb", "qImageFns", "utmQ", "posDistThr", "nonTrivPosDistSqThr")


@dataclass(frozen=True)
class Specification:
    """What a specification file says, in metres and float64."""

    which_set: str
    database_names: list[str]
    database_positions: np.ndarray  # [D, 2]
    query_names: list[str]
    query_positions: np.ndarray  # [Q, 2]
    positive_radius_m: float  # a retrieved image this near is right; a farther one is a negative
    training_radius_m: float  # a training positive is this near
    database_times: np.ndarray | None = None  # [D], Tokyo Time Machine
    query_times: np.ndarray | None = None  # [Q]


def read_specification(path: Path) -> Specification:
    """The official struct, with or without time stamps, by the names of its fields."""
    fields = _fields(_load(path), path)
    for name in _NEEDED:
        if name not in fields:
            raise UserError(
                f"{path}: dbStruct lacks the field '{name}'; it has {', '.join(fields)}."
            )
    specification = Specification(
        which_set=_text(fields.get("whichSet", np.array(""))),
        database_names=_names(fields, "dbImageFns", path),
        database_positions=_positions(fields, "utmDb", path),
        query_names=_names(fields, "qImageFns", path),
        query_positions=_positions(fields, "utmQ", path),
        positive_radius_m=_number(fields, "posDistThr", path),
        training_radius_m=float(np.sqrt(_number(fields, "nonTrivPosDistSqThr", path))),
        database_times=_times(fields, "dbTimeStamp", path),
        query_times=_times(fields, "qTimeStamp", path),
    )
    _check_counts(specification, fields, path)
    _check_names(specification, path)
    return specification


def specification_bytes(specification: Specification, note: str = "") -> bytes:
    """The official struct as a MATLAB v5 file, with small integers where the official one has.

    scipy dates its header; here the header holds `note` and a digest of it, so that equal
    content gives equal bytes, and a note about the images makes the file change when they do.
    """
    s = specification
    struct = {
        "whichSet": s.which_set,
        "dbImageFns": _cell(s.database_names),
        "utmDb": s.database_positions.T,
        **({} if s.database_times is None else {"dbTimeStamp": s.database_times[None]}),
        "qImageFns": _cell(s.query_names),
        "utmQ": s.query_positions.T,
        **({} if s.query_times is None else {"qTimeStamp": s.query_times[None]}),
        "numImages": _small(len(s.database_names)),
        "numQueries": _small(len(s.query_names)),
        "posDistThr": _small(s.positive_radius_m),
        "posDistSqThr": _small(s.positive_radius_m**2),
        "nonTrivPosDistSqThr": _small(s.training_radius_m**2),
    }
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, {"dbStruct": struct}, oned_as="row", do_compression=True)
    digest = hashlib.sha256(note.encode()).hexdigest()[:16]
    header = f"MATLAB 5.0 MAT-file, vprlib, {digest}, {note}".encode("ascii", "replace")
    return header[:_HEADER_BYTES].ljust(_HEADER_BYTES) + buffer.getvalue()[_HEADER_BYTES:]


def _load(path: Path) -> dict[str, np.ndarray]:
    if not path.exists():
        raise UserError(f"{path} is missing: put or link the specification file there.")
    try:
        return scipy.io.loadmat(path)
    except NotImplementedError:
        raise UserError(
            f"{path} is a MATLAB 7.3 file, which cannot be read: save it with `-v7` in MATLAB."
        ) from None
    except Exception as error:  # scipy raises anything from TypeError to zlib.error on bad bytes
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"{path} cannot be read as a .mat file ({reason}): it is truncated or something else;"
            " fetch it again."
        ) from None


def _fields(content: dict[str, np.ndarray], path: Path) -> dict[str, np.ndarray]:
    variables = [name for name in content if not name.startswith("__")]
    if "dbStruct" not in content:
        found = ", ".join(variables) or "nothing"
        raise UserError(f"{path} holds no variable 'dbStruct', but {found}.")
    struct = content["dbStruct"]
    if struct.dtype.names is None or struct.size != 1:
        raise UserError(
            f"{path}: dbStruct should be one struct with named fields,"
            f" but is an array of {struct.dtype} with shape {struct.shape}."
        )
    record = struct.reshape(-1)[0]
    fields = {name: record[name] for name in struct.dtype.names}
    for name, value in fields.items():
        if not isinstance(value, np.ndarray):
            raise UserError(
                f"{path}: {name} should be a plain array, but is {type(value).__name__}."
            )
    return fields


def _text(value: np.ndarray) -> str:
    return str(value.reshape(-1)[0]).rstrip() if value.size else ""


def _names(fields: dict[str, np.ndarray], field: str, path: Path) -> list[str]:
    values = fields[field].reshape(-1)
    if values.dtype != object:
        raise UserError(
            f"{path}: {field} should be a cell array of names, but holds {values.dtype}."
        )
    names = [_text(np.asarray(value)) for value in values]
    if "" in names:
        raise UserError(f"{path}: {field} has an empty name at place {names.index('')}.")
    return names


def _positions(fields: dict[str, np.ndarray], field: str, path: Path) -> np.ndarray:
    values = fields[field]
    if values.dtype.kind not in "biuf" or values.ndim != 2 or values.shape[0] != 2:
        raise UserError(
            f"{path}: {field} should be a 2×N matrix of metres,"
            f" but is {values.dtype} with shape {values.shape}."
        )
    positions = np.ascontiguousarray(values.T, dtype=np.float64)
    if not np.isfinite(positions).all():
        row = int(np.argmin(np.isfinite(positions).all(axis=1)))
        raise UserError(f"{path}: {field} is not a finite number at place {row}.")
    return positions


def _number(fields: dict[str, np.ndarray], field: str, path: Path) -> float:
    """A scalar as float: the files store uint8 and uint16, whose arithmetic overflows."""
    values = fields[field]
    is_number = values.dtype.kind in "biuf" and values.size == 1
    if not is_number or not 0 < float(values.reshape(-1)[0]) < np.inf:
        raise UserError(
            f"{path}: {field} should be one positive number,"
            f" but is {values.reshape(-1)[:3]} of shape {values.shape}."
        )
    return float(values.reshape(-1)[0])


def _times(fields: dict[str, np.ndarray], field: str, path: Path) -> np.ndarray | None:
    if field not in fields:
        return None
    values = fields[field].reshape(-1)
    if values.dtype.kind not in "biuf":
        raise UserError(f"{path}: {field} should hold numbers, but holds {values.dtype}.")
    return values.astype(np.float64)


def _check_counts(specification: Specification, fields: dict[str, np.ndarray], path: Path) -> None:
    s = specification
    found = {
        "dbImageFns": (len(s.database_names), "numImages"),
        "utmDb": (len(s.database_positions), "numImages"),
        "qImageFns": (len(s.query_names), "numQueries"),
        "utmQ": (len(s.query_positions), "numQueries"),
    }
    if s.database_times is not None:
        found["dbTimeStamp"] = (len(s.database_times), "numImages")
    if s.query_times is not None:
        found["qTimeStamp"] = (len(s.query_times), "numQueries")
    first = {"numImages": "dbImageFns", "numQueries": "qImageFns"}
    for field, (count, total) in found.items():
        values = fields.get(total, np.array([found[first[total]][0]]))
        declared = values.reshape(-1)[0] if values.size == 1 else f"{values.size} values"
        if count != declared:
            raise UserError(
                f"{path}: counts disagree: {field} has {count} entries,"
                f" but {total if total in fields else first[total]} says {declared}."
            )


def _check_names(specification: Specification, path: Path) -> None:
    for name in (*specification.database_names, *specification.query_names):
        parts = PurePosixPath(name.replace("\\", "/"))
        if parts.is_absolute() or ".." in parts.parts:
            raise UserError(f"{path}: the image name '{name}' leaves the data set's folder.")


def _cell(names: Sequence[str]) -> np.ndarray:
    cell = np.empty((len(names), 1), dtype=object)
    cell[:, 0] = names
    return cell


def _small(value: float) -> np.ndarray:
    """The number in the smallest unsigned integer that holds it, as MATLAB users store it."""
    return np.array(value if value % 1 else np.min_scalar_type(int(value)).type(value))
