"""RandAugment: each operation is torchvision's, and draws depend on the seed alone."""

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import RandAugment

from vprlib.train.augmentation import UNCHANGED, change_of_image, changed
from vprlib.train.places.randaugment import MOST, OPERATIONS, apply, randaugment
from vprlib.train.settings import PlacesSettings

PIXELS = np.random.default_rng(1).integers(0, 256, (30, 40, 3), dtype=np.uint8)
PICTURE = Image.fromarray(PIXELS).resize((80, 60))
THEIRS = {name.lower(): (name, *how) for name, how in RandAugment._AUGMENTATION_SPACE.items()}


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("magnitude", [0, 9, 17, MOST])
@pytest.mark.parametrize("is_negative", [False, True])
def test_each_operation_is_that_of_torchvision(
    name: str, magnitude: int, is_negative: bool
) -> None:
    own = apply(PICTURE, name, magnitude / MOST, is_negative)
    theirs, magnitudes, is_signed = THEIRS[name.replace("_", "")]
    values = magnitudes(MOST + 1, PICTURE.height, PICTURE.width)
    value = 0.0 if values is None else float(values[magnitude])
    value *= -1 if is_signed and is_negative else 1
    how = {"interpolation": InterpolationMode.BILINEAR, "fill": {Image.Image: None}}
    expected = RandAugment()._apply_image_or_video_transform(PICTURE, theirs, value, **how)
    apart = np.abs(np.asarray(own, int) - np.asarray(expected, int))
    # a strength in float64 or float32 moves a few pixels by rounding
    assert np.quantile(apart, 0.98) <= 1, math.ceil(apart.max())


def test_all_operations_are_known() -> None:
    assert {name.replace("_", "") for name in OPERATIONS} == set(THEIRS)


def test_draws_depend_on_the_seed_alone() -> None:
    pixels = np.asarray(PICTURE)
    expected = [randaugment(pixels, 3, 15, seed).tobytes() for seed in range(20)]
    assert len(set(expected)) > 15
    torch.manual_seed(5)
    with ThreadPoolExecutor(4) as pool:
        found = pool.map(lambda seed: randaugment(pixels, 3, 15, seed).tobytes(), range(20))
    assert list(found) == expected
    assert pixels.tobytes() == np.asarray(PICTURE).tobytes()


def test_each_image_is_changed_in_its_own_way_in_each_epoch() -> None:
    given = {"labels": {"kind": "cliques"}, "schedule": {"kind": "steps"}}
    plain = PlacesSettings(kind="places", **given)
    assert change_of_image(plain, 3, 1) == UNCHANGED
    random = PlacesSettings(kind="places", flip=0.5, randaugment={}, **given)
    changes = {
        (row, epoch): change_of_image(random, row, epoch) for row in (1, 2) for epoch in (1, 2)
    }
    assert len(set(changes.values())) == 4
    assert all(change.random[:2] == (3, 9) for change in changes.values())
    assert change_of_image(random, 2, 1) == changes[2, 1]
    one = changed(PIXELS, changes[1, 1])
    assert one.shape == PIXELS.shape and one.tobytes() != PIXELS.tobytes()
