"""Lays photographs of the city out on one sheet, to look at."""

from functools import partial

import numpy as np

from vprlib.city.shots import Plan, Shot, draw

GAP = 3  # white pixels between pictures


def contact_sheet(plan: Plan, rows: int) -> np.ndarray:
    """For a few places one row of database tiles and one of their queries, [H, W, 3] uint8."""
    count = len({shot.place for shot in plan.database})
    lines = []
    for place in np.linspace(0, count - 1, rows).astype(int):
        tiles = [shot for shot in plan.database if shot.place == place]
        lines += [tiles, sorted(plan.queries, key=partial(_metres, tiles[0]))[: len(tiles)]]
    return _framed([[draw(plan, shot) for shot in line] for line in lines])


def _metres(one: Shot, other: Shot) -> float:
    return float(np.hypot(other.easting - one.easting, other.northing - one.northing))


def _framed(lines: list[list[np.ndarray]]) -> np.ndarray:
    height, width = lines[0][0].shape[:2]
    columns = max(len(line) for line in lines)
    shape = (len(lines) * (height + GAP) + GAP, columns * (width + GAP) + GAP, 3)
    sheet = np.full(shape, 255, np.uint8)
    for i, line in enumerate(lines):
        for j, image in enumerate(line):
            top, left = GAP + i * (height + GAP), GAP + j * (width + GAP)
            sheet[top : top + height, left : left + width] = image
    return sheet
