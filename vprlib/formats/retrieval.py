"""Reads a folder of INRIA Holidays: six digits a name, the first four say which place it is."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vprlib.formats.presence import images_below
from vprlib.formats.specification import Layout, Lists, Specification, without_positions
from vprlib.pipeline.params import UserError

_PREFIX = "oxc1_"  # stands before the image's name in Oxford's query files, and nowhere else
Query = tuple[str, list[float]]  # name and box


def read_ground_truth(path: Path, database_dir: Path, layout: Layout) -> Specification:
    """Right is good and ok, doubtful is junk; a query is the part of its image inside a box.

    The database is every image below `database_dir`; the lists name them without suffix.
    """
    asked = sorted(path.glob("*_query.txt"))
    queries = [_query(file) for file in asked]
    lists = [[_listed(file, kind) for kind in ("good", "ok", "junk")] for file in asked]
    rows = _rows_by_stem(database_dir)
    wanted = {name for good, ok, junk in lists for name in (*good, *ok, *junk)}
    # what is not there is asked for all the same, so that it is reported with all that is missing
    absent = sorted((wanted | {name for name, _ in queries}) - set(rows))
    names = [*rows.values(), *(f"{name}.jpg" for name in absent)]
    row_of = {stem: row for row, stem in enumerate((*rows, *absent))}
    right = [_sorted_rows(row_of, (*good, *ok)) for good, ok, _ in lists]
    junk = [_sorted_rows(row_of, junk) for _, _, junk in lists]
    return Specification(
        which_set=path.name,
        database_names=names,
        database_positions=without_positions(len(names)),
        query_names=[names[row_of[name]] for name, _ in queries],
        query_positions=without_positions(len(queries)),
        positive_radius_m=layout.positive_radius_m,
        training_radius_m=layout.training_radius_m,
        listed=Lists(right, [np.setdiff1d(j, r) for j, r in zip(junk, right, strict=True)]),
        query_extra={"box": np.array([box for _, box in queries])},
    )


def _query(file: Path) -> Query:
    words = _text(file).split()
    try:
        name, *box = words
        left, top, right, bottom = (float(number) for number in box)
        is_box = left < right and top < bottom
    except ValueError:
        is_box = False
    if not is_box:
        raise UserError(
            f"{file} should hold an image name and a box (left, top, right, bottom), but holds"
            f" '{' '.join(words)[:80]}'."
        )
    return name.removeprefix(_PREFIX), [left, top, right, bottom]


def _listed(query_file: Path, kind: str) -> list[str]:
    file = query_file.with_name(f"{query_file.name.removesuffix('_query.txt')}_{kind}.txt")
    if not file.exists():
        raise UserError(f"{file} is missing, which goes with {query_file.name}.")
    return _text(file).split()


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{file} should be text, but is not: {error}.") from None


def _rows_by_stem(database_dir: Path) -> dict[str, str]:
    """Name without folder and suffix → name below the folder, in order."""
    names: dict[str, str] = {}
    for image in images_below(database_dir):
        name = str(image.relative_to(database_dir))
        if image.stem in names:
            raise UserError(
                f"{database_dir} holds both {names[image.stem]} and {name}, which the ground"
                " truth cannot tell apart: remove one."
            )
        names[image.stem] = name
    return names


def _sorted_rows(row_of: dict[str, int], names: Sequence[str]) -> np.ndarray:
    return np.unique(np.array([row_of[name] for name in names], dtype=np.int64))


_NAME = re.compile(r"\d{6}")


def is_holidays(images: Sequence[Path]) -> bool:
    return bool(images) and all(_NAME.fullmatch(image.stem) for image in images)


def read_holidays(images: Sequence[Path], base: Path, layout: Layout) -> Specification:
    """Names in 00 are queries, and in the database too, where they are neither right nor wrong."""
    names = [str(image.relative_to(base)) for image in images]
    places = np.array([int(image.stem) // 100 for image in images])
    asked = np.array([row for row, i in enumerate(images) if i.stem.endswith("00")], dtype=np.int64)
    same = [np.flatnonzero(places == places[row]) for row in asked]
    return Specification(
        which_set="holidays",
        database_names=names,
        database_positions=without_positions(len(names)),
        query_names=[names[row] for row in asked],
        query_positions=without_positions(len(asked)),
        positive_radius_m=layout.positive_radius_m,
        training_radius_m=layout.training_radius_m,
        listed=Lists(
            right=[rows[rows != row] for rows, row in zip(same, asked, strict=True)],
            doubtful=[np.array([row]) for row in asked],
        ),
    )
