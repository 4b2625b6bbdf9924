"""Which images of an epoch a student compares with each other."""

import numpy as np
import pytest

from vprlib.train.distil.batches import draw_batches
from vprlib.train.settings import DistilSettings


def settings(**changes: object) -> DistilSettings:
    quick = {"kind": "distil", "teacher": "big", "schedule": {"kind": "steps"}, "images_a_batch": 4}
    return DistilSettings(**quick | changes)


def on_a_line(row: int, others: np.ndarray) -> np.ndarray:
    """Images of near numbers look alike."""
    return -np.abs(others - row).astype(float)


ROWS = np.array([0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 12, 13, 14])


@pytest.mark.parametrize("similarities", [None, on_a_line])
@pytest.mark.parametrize("size", [2, 4, 5, 12, 13, 50])
def test_each_image_is_in_one_batch_and_none_is_alone(similarities, size: int) -> None:
    batches = draw_batches(ROWS, settings(images_a_batch=size), 1, similarities)
    held = [batch[batch >= 0] for batch in batches]
    assert sorted(np.concatenate(held)) == ROWS.tolist()
    assert min(map(len, held)) >= 2 and max(map(len, held)) <= size + 1


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    drawn = [
        draw_batches(ROWS, settings(seed=seed), epoch, None).tolist()
        for seed, epoch in ((1, 1), (1, 1), (1, 2), (2, 1))
    ]
    assert drawn[0] == drawn[1]
    assert drawn[2] != drawn[0] != drawn[3] != drawn[2]


def twin(order: list[int], size: int, pool: int) -> list[list[int]]:
    found, left = [], list(order)
    while left:
        first, others = left[0], left[1:]
        if len(others) >= size:
            seen = others[:pool]
            others = sorted(seen, key=lambda row: (abs(row - first), seen.index(row)))
        found.append([first, *others[: size - 1]])
        left = [row for row in left if row not in found[-1]]
    if len(found[-1]) == 1:
        found[-2:] = [found[-2] + found[-1]]
    return found


@pytest.mark.parametrize(("size", "pool"), [(4, 1000), (3, 5), (2, 3)])
def test_a_batch_holds_a_random_image_and_those_of_the_pool_most_like_it(
    size: int, pool: int
) -> None:
    wanted = settings(images_a_batch=size, image_pool=pool)
    order = draw_batches(ROWS, settings(images_a_batch=len(ROWS)), 3, None)[0].tolist()
    found = draw_batches(ROWS, wanted, 3, on_a_line)
    assert [b[b >= 0].tolist() for b in found] == twin(order, size, pool)
