"""A matrix in int8: integers up to 127 either way, and a scale a row."""

import numpy as np

LARGEST = 127


def rows_as_int8(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The integers [n, D] and scales [n] of float32 rows; a row of zeros stays one."""
    largest = np.maximum(np.abs(matrix).max(axis=1), np.finfo(np.float32).tiny * LARGEST)
    scales = (largest / LARGEST).astype(np.float32)
    integers = np.rint(matrix / scales[:, None]).clip(-LARGEST, LARGEST).astype(np.int8)
    return integers, scales
