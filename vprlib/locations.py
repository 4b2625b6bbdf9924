"""Locations: photographs taken at one spot, as one group each, since they fail together."""

import numpy as np

BLOCK = 64  # positions asked for neighbours at once, so that memory stays small


def locations(positions: np.ndarray, distance_m: float) -> np.ndarray:
    """The location of each position [N, 2], counted from 0, by greedy leader clustering.

    In order of rows, each joins the first leader within the distance, inclusive, or becomes a
    leader. Single linkage would chain a whole street into one location. What has no known position
    (NaN) is a location of its own.
    """
    from sklearn.neighbors import KDTree  # takes two seconds, and not every command asks

    labels = np.full(len(positions), -1, np.int64)
    is_known = np.isfinite(positions).all(axis=1)
    known = np.flatnonzero(is_known)
    tree = KDTree(positions[known]) if len(known) else None
    waiting = known
    while len(waiting):
        block, waiting = waiting[:BLOCK], waiting[BLOCK:]
        near = tree.query_radius(positions[block], distance_m)
        for row, rows in zip(block.tolist(), near, strict=True):
            if labels[row] < 0:
                joined = known[rows]
                labels[joined[labels[joined] < 0]] = row
        waiting = waiting[labels[waiting] < 0]
    labels[~is_known] = np.flatnonzero(~is_known)
    return np.unique(labels, return_inverse=True)[1]
