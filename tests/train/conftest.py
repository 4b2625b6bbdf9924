"""Training and validation sets of a few noisy pictures."""

from collections.abc import Callable

import numpy as np
import pytest
from training import ASKED, PLACES, RADII, VIEWS, settings

from vprlib.images.batches import ImageSource
from vprlib.places.truth import Near
from vprlib.train.data import Split, TrainingData, training_data


@pytest.fixture
def data(source_of: Callable[..., ImageSource], noise: Callable[..., np.ndarray]) -> TrainingData:
    """Four places 100 m apart: three database images and two queries of each, 8 × 8 blocks."""

    def split(name: str, first: int) -> Split:
        sides = []
        for side, count, start in (("db", VIEWS, 0.0), ("q", ASKED, 1.5)):
            shots = [(place, view) for place in range(PLACES) for view in range(count)]
            positions = np.array([(100.0 * p, start + 3.0 * v) for p, v in shots])
            pictures = [
                noise(first + p) // 2 + noise(first + 50 + 10 * p + v + 5 * (side == "q")) // 2
                for p, v in shots
            ]
            sides.append(source_of(pictures, positions, f"{name}-{side}"))
        return Split(*sides)

    val = split("val", 1000)
    sides = (side.index.positions for side in (val.queries, val.database))
    return training_data(split("train", 0), RADII, val, Near(*sides, 25.0), settings())
