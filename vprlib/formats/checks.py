"""What is odd about a parsed set: copies, renamed files, sides out of step, degrees for metres."""

from dataclasses import dataclass

import numpy as np

from vprlib.formats.specification import Specification
from vprlib.images.index import ImageIndex
from vprlib.pipeline.params import UserError
from vprlib.places.geo import Pairs, pair_distances, pairs_of


@dataclass(frozen=True)
class Findings:
    """What is counted and said, and stops nothing."""

    renamed: int  # images that have another suffix on disk
    database_duplicates: int  # images whose bytes come earlier in the database
    queries_in_database: int  # queries whose bytes are a database image's
    out_of_step: int  # of these, the ones whose copies all lie beyond the positive radius

    def sentence(self) -> str:
        """Only what was found, to be said after the summary."""
        told = {
            "under another suffix on disk": self.renamed,
            "database images that are copies": self.database_duplicates,
            "queries also in the database": self.queries_in_database,
        }
        return "".join(f", {count} {words}" for words, count in told.items() if count)

    def warning(self) -> str:
        if not self.out_of_step:
            return ""
        return (
            f"; WARNING: {self.out_of_step} queries are byte for byte a database image that is said"
            " to be elsewhere: are names and positions out of step?"
        )


def look_over(database: ImageIndex, queries: ImageIndex, radius_m: float, renamed: int) -> Findings:
    copies = _copies(database, queries)
    distances = pair_distances(copies, queries.positions, database.positions)
    near = copies.keep(~(distances > radius_m))  # unknown positions are not far
    return Findings(
        renamed=renamed,
        database_duplicates=len(database) - len(np.unique(database.digests)),
        queries_in_database=int((copies.counts() > 0).sum()),
        out_of_step=int(((copies.counts() > 0) & (near.counts() == 0)).sum()),
    )


def refuse_degrees(specification: Specification, set_name: str) -> None:
    """Positions that can only be latitude and longitude where metres are expected.

    In degrees a whole town spans less than the radius, so that everything would be right. What
    is refused fits into ±90 and ±180, spans less than the radius from corner to corner, and is
    farther from the origin than it is wide. Frame numbers (all whole) are let through, and so
    are local coordinates of a small place, which begin near their origin.
    """
    s = specification
    both = np.concatenate([s.database_positions, s.query_positions])
    low, high = both.min(axis=0), both.max(axis=0)
    largest = np.sort(np.abs(both).max(axis=0))
    span = float(np.hypot(*(high - low)))
    has_degrees = largest[0] <= 90.0 and largest[1] <= 180.0 and (both % 1.0).any()
    if has_degrees and span < s.positive_radius_m and span < np.hypot(*((low + high) / 2.0)):
        raise UserError(
            f"the positions of {set_name} go from {_shown(low)} to {_shown(high)}, all within its"
            f" radius of {s.positive_radius_m:g} m: these seem to be degrees, but metres are"
            " needed; write a CSV with the columns path, lat, lon instead, which is projected."
        )


def _copies(database: ImageIndex, queries: ImageIndex) -> Pairs:
    """The database images that are byte for byte the query."""
    order = np.argsort(database.digests, kind="stable")
    rising = database.digests[order]
    first, end = (np.searchsorted(rising, queries.digests, side) for side in ("left", "right"))
    return pairs_of([order[a:b] for a, b in zip(first, end, strict=True)])


def _shown(position: np.ndarray) -> str:
    return f"({position[0]:g}, {position[1]:g})"
