"""Where a photograph was taken, as far as the images found for it agree."""

from dataclasses import dataclass

import numpy as np

from vprlib.places.geo import locations

LEAST = 1e-3  # weight of a result whose score is zero or less


@dataclass(frozen=True)
class Estimate:
    """The middle of the results of the first one's place, weighted by their scores."""

    metres: np.ndarray  # [2] easting and northing
    degrees: np.ndarray | None  # [2] longitude and latitude, where known
    spread_m: float  # how far the farthest of these results is from it
    agree: int  # how many results are of that place
    results: int


def estimate(
    positions: np.ndarray, degrees: np.ndarray | None, scores: np.ndarray, distinct_m: float
) -> Estimate | None:
    """From results in the order of ranks [K]; None where the first has no position."""
    if not len(positions) or np.isnan(positions[0]).any():
        return None
    same = locations(positions, distinct_m) == 0
    weights = np.maximum(scores[same], LEAST)
    metres = np.average(positions[same], axis=0, weights=weights)
    spread = float(np.linalg.norm(positions[same] - metres, axis=1).max())
    return Estimate(metres, _middle(degrees, same, weights), spread, int(same.sum()), len(same))


def _middle(degrees: np.ndarray | None, same: np.ndarray, weights: np.ndarray) -> np.ndarray | None:
    if degrees is None:
        return None
    from_first = degrees[same] - degrees[0]
    from_first[:, 0] = (from_first[:, 0] + 180) % 360 - 180  # over the date line
    middle = degrees[0] + np.average(from_first, axis=0, weights=weights)
    middle[0] = (middle[0] + 180) % 360 - 180
    return middle
