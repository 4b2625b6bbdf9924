"""Reads CSV files: a data set with a row per image, and metadata beside another file."""

import csv
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from vprlib.formats.specification import FARTHEST_M, METADATA_COLUMNS, Layout, Specification
from vprlib.pipeline.params import UserError
from vprlib.places.projection import MAX_LATITUDE, project

COLUMNS = {  # column → names that it may have in the file
    "path": ("path", "image"),
    "easting": ("easting", "utm_east"),
    "northing": ("northing", "utm_north"),
    "lat": ("lat", "latitude"),
    "lon": ("lon", "lng", "longitude"),
    "heading": ("heading",),
    "time": ("timestamp", "time"),
    "light": ("light",),
    "role": ("role",),
    "session": ("session",),  # of a list of photographs, which may lack positions and queries
}
SIDES = {"database": "database", "query": "query", "queries": "query"}  # word → side


@dataclass(frozen=True)
class Row:
    """One image; `line` is its line in the file, where the header is 1."""

    line: int
    values: dict[str, str]
    side: str


def read_listing(path: Path, layout: Layout) -> Specification:
    """Columns: path, easting and northing or lat and lon; heading, timestamp, light, role.

    An image belongs to the side that its role says, or else the first folder of its path:
    `database` or `queries`. Metres are preferred to degrees.
    """
    columns, found = _known_columns(path)
    rows = [Row(line, values, _side(values, line, path)) for line, values in found]
    _refuse_doubles(rows, path)
    positions = _positions(rows, columns, path)
    is_query = np.array([row.side == "query" for row in rows], dtype=bool)
    database, queries = ([r for r in rows if r.side == side] for side in ("database", "query"))
    return Specification(
        which_set=path.stem,
        database_names=[row.values["path"] for row in database],
        database_positions=positions[~is_query],
        query_names=[row.values["path"] for row in queries],
        query_positions=positions[is_query],
        positive_radius_m=layout.positive_radius_m,
        training_radius_m=layout.training_radius_m,
        database_extra=_extra(database, columns, path),
        query_extra=_extra(queries, columns, path),
    )


def tells_positions(path: Path) -> bool:
    """Whether a CSV says where images are, by its header; others may lie beside them too."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            header = next(csv.reader(file), [])
    except (UnicodeDecodeError, csv.Error):
        return False
    here = {name.strip().lower() for name in header}
    known = {column for column, aliases in COLUMNS.items() if here & set(aliases)}
    return "path" in known and ({"lat", "lon"} <= known or {"easting", "northing"} <= known)


def positions_by_name(
    paths: Sequence[Path], folder: Path, names: Sequence[str]
) -> tuple[np.ndarray, bool]:
    """Where the CSV files beside the images say that these [N, 2] are; NaN where nothing is said.

    And whether that is latitude and longitude, or else metres. Paths in a CSV start beside it.
    """
    found: dict[str, np.ndarray] = {}
    kinds = set()
    for path in paths:
        columns, rows = _known_columns(path)
        listed = [Row(line, values, "database") for line, values in rows]
        kinds.add(in_metres := {"easting", "northing"} <= set(columns))
        places = _metres(listed, path) if in_metres else _degrees(listed, path)
        base = path.parent.relative_to(folder)
        for row, place in zip(listed, places, strict=True):
            found[str(base / row.values["path"])] = place
    if len(kinds) > 1:
        raise UserError(f"{paths[0]} and {paths[1]} use metres and degrees: use one of them.")
    nowhere = np.full(2, np.nan)
    return np.array([found.get(name, nowhere) for name in names]).reshape(-1, 2), kinds == {False}


def times(values: Sequence[str]) -> np.ndarray:
    """Time stamps as numbers if all are numbers, or else as text."""
    try:
        numbers = np.array([float(value) for value in values])
    except ValueError:
        return np.array(values, dtype=object)
    return numbers if np.isfinite(numbers).all() else np.array(values, dtype=object)


def _read(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """The header, and line number and values of each row."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restval="")
            return list(reader.fieldnames or []), [(reader.line_num, row) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} should be a CSV in UTF-8, but is not: {error}.") from None


def _known_columns(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """The columns by our names, and line number and values of each row."""
    header, rows = _read(path)
    here = {name.strip().lower(): name for name in header[::-1]}
    known = {
        column: here[next(alias for alias in aliases if alias in here)]
        for column, aliases in COLUMNS.items()
        if any(alias in here for alias in aliases)
    }
    needed = (("easting", "northing"), ("lat", "lon"), ("session",))
    if not any({"path", *columns} <= set(known) for columns in needed):
        raise UserError(
            f"{path} should have the columns path, easting, northing or path, lat, lon,"
            f" but has {', '.join(header) or 'none'}."
        )
    long = [line for line, row in rows if None in row]
    if long:
        raise UserError(f"{path}: row {long[0]} has more values than there are columns.")
    return list(known), [
        (line, {column: row[name].strip() for column, name in known.items()}) for line, row in rows
    ]


def _side(values: dict[str, str], line: int, path: Path) -> str:
    if not values["path"]:
        raise UserError(f"{path}: row {line} has no path.")
    folder = (*PurePosixPath(values["path"]).parts, "")[0]
    word = values["role"].lower() if "role" in values else folder
    if word in SIDES:
        return SIDES[word]
    if "role" in values:
        raise UserError(
            f"{path}: row {line} has the role '{word}', but should be database or query."
        )
    raise UserError(
        f"{path}: row {line}, '{values['path']}', is in neither database/ nor queries/: add a"
        " column 'role' that says database or query."
    )


def _refuse_doubles(rows: Sequence[Row], path: Path) -> None:
    """A path may be both query and database, but not twice the same."""
    first: dict[tuple[str, str], int] = {}
    for row in rows:
        before = first.setdefault((row.side, row.values["path"]), row.line)
        if before != row.line:
            raise UserError(
                f"{path}: row {row.line} lists '{row.values['path']}' again, after row {before}."
            )


def _positions(rows: Sequence[Row], columns: Sequence[str], path: Path) -> np.ndarray:
    if {"easting", "northing"} <= set(columns):
        return _metres(rows, path)
    if not {"lat", "lon"} <= set(columns):
        return np.full((len(rows), 2), np.nan)
    try:
        return project(*_degrees(rows, path).T)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _metres(rows: Sequence[Row], path: Path) -> np.ndarray:
    return np.stack([_numbers(rows, column, path) for column in ("easting", "northing")], axis=1)


def _degrees(rows: Sequence[Row], path: Path) -> np.ndarray:
    """Latitude and longitude [N, 2]."""
    found = np.stack([_numbers(rows, column, path) for column in ("lat", "lon")], axis=1)
    for column, values, limit in zip(("lat", "lon"), found.T, (MAX_LATITUDE, 180.0), strict=True):
        wrong = np.flatnonzero(np.abs(values) > limit)
        if len(wrong):
            row = rows[wrong[0]]
            raise UserError(
                f"{path}: row {row.line} has {column} {row.values[column]}, but it should be"
                f" degrees from -{limit:g} to {limit:g}; metres go under easting and northing."
            )
    return found


def _numbers(rows: Sequence[Row], column: str, path: Path) -> np.ndarray:
    numbers = np.full(len(rows), np.nan)
    for place, row in enumerate(rows):
        with suppress(ValueError):
            numbers[place] = float(row.values[column])
        if not abs(numbers[place]) <= FARTHEST_M:
            raise UserError(
                f"{path}: row {row.line} has {column} '{row.values[column]}', which is not a finite"
                f" number within ±{FARTHEST_M:g}."
            )
    return numbers


def _extra(rows: Sequence[Row], columns: Sequence[str], path: Path) -> dict[str, np.ndarray]:
    """Optional columns of one side; a column without any value is left out."""
    convert: dict[str, Callable[[Sequence[Row]], np.ndarray]] = {
        "heading": lambda rows: _numbers(rows, "heading", path),
        "light": lambda rows: np.array([row.values["light"] for row in rows], dtype=object),
        "time": lambda rows: times([row.values["time"] for row in rows]),
        "session": lambda rows: np.array([row.values["session"] for row in rows], dtype=object),
    }
    extra = {}
    if {"lat", "lon"} <= set(columns) and not {"easting", "northing"} <= set(columns):
        extra["degrees"] = _degrees(rows, path)[:, ::-1]
    for column in (c for c in convert if c in columns):
        empty = [row for row in rows if not row.values[column]]
        if len(empty) == len(rows):
            continue
        if empty:
            raise UserError(
                f"{path}: row {empty[0].line} lacks the {column} that other"
                f" {empty[0].side} images have; give it for all of them or none."
            )
        extra[column] = convert[column](rows)
    return extra


def read_metadata(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Column → a value for each of `names`, in their order; empty where there is no file."""
    if not path.exists():
        return {}
    header, rows = _read(path)
    columns = [column for column in METADATA_COLUMNS[1:] if column in header]
    if not rows or "image" not in header or not columns:
        raise UserError(
            f"{path} should be a CSV with the columns {', '.join(METADATA_COLUMNS)}, one row per"
            " image."
        )
    by_name = {row["image"]: Row(line, row, "") for line, row in rows}
    absent = [name for name in names if name not in by_name]
    if absent:
        raise UserError(f"{path} has no row for {len(absent)} images, such as '{absent[0]}'.")
    chosen = [by_name[name] for name in names]
    for row in chosen:
        if not all(row.values[column] for column in columns):
            raise UserError(f"{path}: row {row.line} lacks a heading or a light.")
    return {
        column: _numbers(chosen, column, path)
        if column == "heading"
        else np.array([row.values[column] for row in chosen], dtype=object)
        for column in columns
    }
