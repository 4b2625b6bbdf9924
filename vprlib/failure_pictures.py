"""The worst misses side by side: query, wrong answer, right answer."""

from collections.abc import Sequence

import numpy as np

from vprlib.batches import ImageSource
from vprlib.failures import Outcomes, right_answer
from vprlib.gallery import ACCENT, GOOD, INK, Panel, rows_of
from vprlib.predictions import Predictions
from vprlib.truth import Truth


def misses(
    chosen: Sequence[int],
    found: Predictions,
    became: Outcomes,
    truth: Truth,
    asked: ImageSource,
    database: ImageSource,
    title: str,
) -> bytes:
    """A row a miss: the query, the wrong answer, and the right one with the rank it had."""
    rows = []
    for query in chosen:
        wrong = int(found.rows[query, 0])
        right, rank = right_answer(found, became, truth, query)
        rows.append(
            [
                Panel(_shown(asked, query), "query", (asked.index.names[query],), INK),
                Panel(
                    _shown(database, wrong),
                    f"answer   distance {found.distances[query, 0]:.3f}",
                    (_metres(found, query, wrong), database.index.names[wrong]),
                    ACCENT,
                ),
                Panel(
                    _shown(database, right),
                    _rank(found, query, rank),
                    (_metres(found, query, right), database.index.names[right]),
                    GOOD,
                ),
            ]
        )
    return rows_of(rows, f"{title}: the surest wrong answers{'' if rows else ': none'}")


def _shown(source: ImageSource, row: int) -> np.ndarray:
    """An image, or grey where it cannot be read: a picture is not worth stopping a run."""
    found = source.tried(row)
    return np.full((3, 4, 3), 160, np.uint8) if isinstance(found, str) else found


def _rank(found: Predictions, query: int, rank: int) -> str:
    if rank:
        return f"right, at rank {rank}   distance {found.distances[query, rank - 1]:.3f}"
    return f"right, not among the first {int((found.rows[query] >= 0).sum())}"


def _metres(found: Predictions, query: int, row: int) -> str:
    metres = np.linalg.norm(found.database.positions[row] - found.queries.positions[query])
    return "position unknown" if np.isnan(metres) else f"{metres:.1f} m from the query"
