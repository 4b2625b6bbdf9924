"""Checks a parsed set: missing and renamed files, copies, sides that do not match, degrees."""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vprlib.formats.specification import Specification
from vprlib.images.index import SESSION, ImageIndex
from vprlib.pipeline.inside import inside
from vprlib.pipeline.params import UserError
from vprlib.places.geo import Pairs, pair_distances, pairs_of

# a file with one of these suffixes also stands for a name with another one of them
_SUFFIXES = (".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG")
_IMAGES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".gif"}
_IMAGES |= {".heic", ".heif"}


@dataclass(frozen=True)
class Presence:
    """One side of a set on disk."""

    names: list[str]  # as on disk, where the file was found
    renamed: int  # how many have another suffix there
    missing: list[str]


def find_images(names: Sequence[str], folder: Path) -> Presence:
    """Each name as a file below the folder, under another suffix if need be."""
    found = [_on_disk(name, folder) for name in names]
    pairs = list(zip(names, found, strict=True))
    return Presence(
        [there or name for name, there in pairs],
        sum(there not in (None, name) for name, there in pairs),
        [name for name, there in pairs if there is None],
    )


def images_below(folder: Path) -> list[Path]:
    """All image files of a folder and its subfolders, sorted; skips hidden files.

    A linked folder is walked once, and only where `inside` allows it.
    """
    found, walked = [], set()
    for here, folders, names in os.walk(folder, followlinks=True):
        inside(folder, os.path.relpath(here, folder), folder)
        if (real := os.path.realpath(here)) in walked:
            folders.clear()
            continue
        walked.add(real)
        found += [Path(here) / name for name in names if is_image(name)]
    return sorted(found)


def is_image(name: str) -> bool:
    """By its name; hidden files are none."""
    return not name.startswith(".") and Path(name).suffix.lower() in _IMAGES


def _on_disk(name: str, folder: Path) -> str | None:
    stem, dot, suffix = name.rpartition(".")
    others = [f"{stem}{other}" for other in _SUFFIXES if dot + suffix in _SUFFIXES]
    for other in (name, *others):
        with suppress(OSError):  # a name too long for the file system
            if (folder / other).is_file():
                return str(inside(folder, other, folder).relative_to(folder))
    return None


@dataclass(frozen=True)
class Findings:
    """Oddities of a set that are reported and do not stop the run."""

    renamed: int  # images with another suffix on disk
    database_duplicates: int  # images with the same bytes as an earlier one of the database
    queries_in_database: int  # queries with the same bytes as a database image
    out_of_step: int  # of these, the ones whose copies all lie beyond the positive radius

    def sentence(self) -> str:
        """What was found, to follow the summary of the set."""
        counts = {
            "under another suffix on disk": self.renamed,
            "database images that are copies": self.database_duplicates,
            "queries also in the database": self.queries_in_database,
        }
        return "".join(f", {count} {words}" for words, count in counts.items() if count)

    def warning(self) -> str:
        if not self.out_of_step:
            return ""
        return (
            f"; WARNING: {self.out_of_step} queries are byte for byte a database image with another"
            " position: are names and positions in the same order?"
        )


def look_over(database: ImageIndex, queries: ImageIndex, radius_m: float, renamed: int) -> Findings:
    copies = _copies(database, queries)
    if SESSION in database.extra and SESSION in queries.extra:  # a photograph is not its own copy
        labels = database.extra[SESSION][copies.rows], queries.extra[SESSION][copies.queries()]
        copies = copies.keep(labels[0] != labels[1])
    distances = pair_distances(copies, queries.positions, database.positions)
    near = copies.keep(~(distances > radius_m))  # unknown positions are not far
    return Findings(
        renamed=renamed,
        database_duplicates=len(database) - len(np.unique(database.digests)),
        queries_in_database=int((copies.counts() > 0).sum()),
        out_of_step=int(((copies.counts() > 0) & (near.counts() == 0)).sum()),
    )


def refuse_degrees(specification: Specification, set_name: str) -> None:
    """Refuses positions that must be latitude and longitude, where metres are expected.

    In degrees a whole town is smaller than the radius, so every answer would be right. Refused is
    what fits into ±90 and ±180, is smaller than the radius from corner to corner, and is farther
    from the origin than it is wide. Frame numbers (all whole) pass, and so do local coordinates of
    a small place, which begin near their origin.
    """
    s = specification
    both = np.concatenate([s.database_positions, s.query_positions])
    low, high = both.min(axis=0), both.max(axis=0)
    largest = np.sort(np.abs(both).max(axis=0))
    span = float(np.hypot(*(high - low)))
    has_degrees = largest[0] <= 90.0 and largest[1] <= 180.0 and (both % 1.0).any()
    if has_degrees and span < s.positive_radius_m and span < np.hypot(*((low + high) / 2.0)):
        corners = " to ".join(f"({corner[0]:g}, {corner[1]:g})" for corner in (low, high))
        raise UserError(
            f"the positions of {set_name} go from {corners}, all within its radius of"
            f" {s.positive_radius_m:g} m: these seem to be degrees, but metres are needed; write"
            " a CSV with the columns path, lat, lon, which are converted to metres."
        )


def _copies(database: ImageIndex, queries: ImageIndex) -> Pairs:
    """The database images with the same bytes as each query."""
    order = np.argsort(database.digests, kind="stable")
    rising = database.digests[order]
    first, end = (np.searchsorted(rising, queries.digests, side) for side in ("left", "right"))
    return pairs_of([order[a:b] for a, b in zip(first, end, strict=True)])
