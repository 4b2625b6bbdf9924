"""Changes of a tuple's images: exact mirrors, sizes by a factor, draws that come again."""

from collections.abc import Callable

import numpy as np
import pytest

from vprlib.train.augmentation import UNCHANGED, Change, change_of, changed
from vprlib.train.settings import TrainSettings

Noise = Callable[..., np.ndarray]


def drawn(query: int, epoch: int, **values: object) -> Change:
    return change_of(TrainSettings(**values), query, epoch)


def test_unchanged_images_keep_their_bytes(noise: Noise) -> None:
    picture = noise(1, 48, 40)
    assert changed(picture, UNCHANGED) is picture


def test_a_mirrored_image_has_its_columns_in_reverse(noise: Noise) -> None:
    picture = noise(1, 48, 40)
    mirrored = changed(picture, Change(is_mirrored=True))
    assert all((mirrored[:, x] == picture[:, 47 - x]).all() for x in range(48))
    assert (changed(mirrored, Change(is_mirrored=True)) == picture).all()


@pytest.mark.parametrize(
    ("scale", "size"), [(0.5, (20, 24)), (1.25, (50, 60)), (0.77, (31, 37)), (0.001, (1, 1))]
)
def test_both_sides_are_scaled_by_the_factor(
    noise: Noise, scale: float, size: tuple[int, int]
) -> None:
    assert changed(noise(1, 48, 40), Change(scale=scale)).shape == (*size, 3)


def test_a_flat_image_stays_flat_in_every_size() -> None:
    flat = np.full((40, 48, 3), 77, np.uint8)
    assert (changed(flat, Change(True, 0.6)) == 77).all()


@pytest.mark.parametrize(("flip", "share"), [(0.0, 0.0), (0.3, 0.3), (1.0, 1.0)])
def test_so_many_tuples_are_mirrored(flip: float, share: float) -> None:
    mirrored = [drawn(query, 2, flip=flip).is_mirrored for query in range(2000)]
    assert np.mean(mirrored) == pytest.approx(share, abs=0.05 if 0 < share < 1 else 0)


def test_factors_are_uniform_in_their_range() -> None:
    scales = [drawn(query, 2, flip=0.5, jitter=(0.8, 1.2)).scale for query in range(2000)]
    assert 0.8 <= min(scales) < 0.81 and 1.19 < max(scales) <= 1.2
    assert np.histogram(scales, 4, (0.8, 1.2))[0].min() > 420
    assert {drawn(query, 2, flip=0.5).scale for query in range(9)} == {1.0}


def test_a_change_belongs_to_seed_epoch_and_query() -> None:
    values = {"flip": 0.5, "jitter": (0.5, 2.0)}
    one = drawn(5, 2, **values)
    assert one == drawn(5, 2, **values)
    others = [drawn(6, 2, **values), drawn(5, 3, **values), drawn(5, 2, seed=2, **values)]
    assert len({one.scale, *(other.scale for other in others)}) == 4
