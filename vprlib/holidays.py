"""Reads a folder of INRIA Holidays: six digits a name, the first four say which place it is."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vprlib.layout import Layout
from vprlib.specification import Lists, Specification, without_positions

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
