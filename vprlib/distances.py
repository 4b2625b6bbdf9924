"""How far positions are from the nearest of others, and how far headings are apart."""

import numpy as np


def nearest_m(positions: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Metres [N] to the nearest of the others; infinite where either is not known."""
    from scipy.spatial import cKDTree  # takes a moment

    metres = np.full(len(positions), np.inf)
    known, there = np.isfinite(positions).all(axis=1), np.isfinite(others).all(axis=1)
    if known.any() and there.any():
        metres[known] = cKDTree(others[there]).query(positions[known])[0]
    return metres


def apart_deg(headings: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The smaller angle between headings in degrees, 0 to 180."""
    return np.abs((headings - others + 180.0) % 360.0 - 180.0)
