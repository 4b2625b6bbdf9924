"""Parts photographs into sessions, and thins those that were taken at one place."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from vprlib.pipeline.params import Metres, Section
from vprlib.places.geo import apart_deg

By = Literal["auto", "time", "folder", "camera"]


class SessionSettings(Section):
    """Which photographs were taken on one walk or drive, so that they look alike for that alone."""

    by: By = "auto"  # time where all photographs have one, or else folder
    pause_min: Annotated[float, Field(gt=0, le=1e6)] = 30.0  # a longer one ends a session


def sessions_of(
    clocks: np.ndarray, folders: Sequence[str], cameras: Sequence[str], settings: SessionSettings
) -> tuple[list[str], str]:
    """The session of each photograph, and what they were told apart by.

    By time, photographs of two cameras at once are one session: they show the same day.
    """
    by = settings.by
    if by == "auto":
        by = "time" if len(clocks) and np.isfinite(clocks).all() else "folder"
    if by != "time":
        return list(folders if by == "folder" else cameras), by
    labels = np.full(len(clocks), "without a time", dtype=object)
    known = np.flatnonzero(np.isfinite(clocks))
    order = known[np.argsort(clocks[known], kind="stable")]
    starts = np.diff(clocks[order], prepend=-np.inf) > 60 * settings.pause_min
    firsts = order[starts][np.cumsum(starts) - 1] if len(order) else order
    moments = np.array(clocks[firsts], "datetime64[s]").astype(str)
    labels[order] = moments
    return labels.tolist(), by


class ThinSettings(Section):
    """For a car that stood still: how many photographs of one place and direction are kept."""

    most: Annotated[int, Field(ge=1, le=10**6)]
    within_m: Metres = 3.0
    within_deg: Annotated[float, Field(gt=0, le=180)] = 30.0


def thinned(positions: np.ndarray, headings: np.ndarray, settings: ThinSettings) -> np.ndarray:
    """Whether each photograph [N] is kept: fewer than `most` earlier ones that are kept are near.

    Without a heading, a photograph looks in every direction.
    """
    kept = np.zeros(len(positions), bool)
    cells: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
    squares = np.floor(positions / settings.within_m).astype(np.int64)
    for row, (x, y) in enumerate(squares.tolist()):
        near = [r for i in (x - 1, x, x + 1) for j in (y - 1, y, y + 1) for r in cells[i, j]]
        others = np.array(near, np.int64)
        apart = np.linalg.norm(positions[others] - positions[row], axis=1)
        turned = apart_deg(headings[others], headings[row])
        is_alike = (apart <= settings.within_m) & ~(turned > settings.within_deg)
        kept[row] = is_alike.sum() < settings.most
        if kept[row]:
            cells[x, y].append(row)
    return kept
