"""Reads retrieval benchmarks without positions: Oxford's and Paris's ground truth, INRIA Holidays.

In Holidays the first four of six digits in a name are the place.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vprlib.formats.checks import images_below
from vprlib.formats.specification import Layout, Lists, Specification, listed_specification
from vprlib.pipeline.params import UserError

_FAR = 10**6  # pixels beyond any image
_PREFIX = "oxc1_"  # before the image's name in Oxford's query files, and nowhere else
_HOLIDAYS = re.compile(r"\d{6}")
Query = tuple[str, list[float]]  # name and box


def read_ground_truth(path: Path, database_dir: Path, layout: Layout) -> Specification:
    """Good and ok images are right, junk is doubtful; a query is the part of its image in a box.

    The database is every image below `database_dir`; the lists name them without suffix.
    """
    query_files = sorted(path.glob("*_query.txt"))
    queries = [_query(file) for file in query_files]
    lists = [[_listed(file, kind) for kind in ("good", "ok", "junk")] for file in query_files]
    rows = _rows_by_stem(database_dir)
    needed = {name for good, ok, junk in lists for name in (*good, *ok, *junk)}
    # listed images that are not on disk are named too, so that all missing files are reported
    absent = sorted((needed | {name for name, _ in queries}) - set(rows))
    names = [*rows.values(), *(f"{name}.jpg" for name in absent)]
    row_of = {stem: row for row, stem in enumerate((*rows, *absent))}
    right = [_sorted_rows(row_of, (*good, *ok)) for good, ok, _ in lists]
    junk = [_sorted_rows(row_of, junk) for _, _, junk in lists]
    return listed_specification(
        path.name,
        names,
        [names[row_of[name]] for name, _ in queries],
        Lists(right, [np.setdiff1d(j, r) for j, r in zip(junk, right, strict=True)]),
        layout,
        {"box": np.array([box for _, box in queries])},
    )


def _query(file: Path) -> Query:
    words = _text(file).split()
    try:
        name, *box = words
        left, top, right, bottom = (float(number) for number in box)
        is_box = -_FAR < left < right < _FAR and -_FAR < top < bottom < _FAR
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
        raise UserError(f"{file} is missing; {query_file.name} needs it.")
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


def is_holidays(images: Sequence[Path]) -> bool:
    return bool(images) and all(_HOLIDAYS.fullmatch(image.stem) for image in images)


def read_holidays(images: Sequence[Path], base: Path, layout: Layout) -> Specification:
    """Names that end in 00 are queries; they are in the database too, as doubtful images."""
    names = [str(image.relative_to(base)) for image in images]
    places = np.array([int(image.stem) // 100 for image in images])
    queries = [row for row, image in enumerate(images) if image.stem.endswith("00")]
    same = [np.flatnonzero(places == places[row]) for row in queries]
    lists = Lists(
        right=[rows[rows != row] for rows, row in zip(same, queries, strict=True)],
        doubtful=[np.array([row]) for row in queries],
    )
    return listed_specification("holidays", names, [names[row] for row in queries], lists, layout)
