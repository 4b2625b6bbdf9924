"""Training steps: how tuples become steps, and where each image of a triplet stands."""

import numpy as np
import pytest

from vprlib.train.augmentation import UNCHANGED, Change
from vprlib.train.gradients import as_steps, database_images, triplet_places
from vprlib.train.mining import Tuple

MIRRORED = Change(is_mirrored=True)
PLAIN = [Tuple(7, 5, np.array([9, 2])), Tuple(3, 2, np.array([4])), Tuple(0, 9, np.array([5, 4]))]
MIXED = [*PLAIN, Tuple(1, 2, np.array([9, 8]), MIRRORED), Tuple(2, 8, np.array([9]), MIRRORED)]


def test_a_part_needs_each_database_image_once() -> None:
    assert database_images(PLAIN) == [(row, UNCHANGED) for row in (2, 4, 5, 9)]


def test_an_image_that_two_tuples_want_differently_is_needed_twice() -> None:
    mirrored = [row for row, change in database_images(MIXED) if change == MIRRORED]
    assert mirrored == [2, 8, 9]
    assert len(database_images(MIXED)) == 7


@pytest.mark.parametrize("part", [PLAIN, MIXED])
def test_places_of_triplets_equal_the_loop_over_tuples(part: list[Tuple]) -> None:
    images = [("query", t.query, t.change) for t in part]
    images += [("database", *image) for image in database_images(part)]
    twin = [
        (
            images.index(("query", t.query, t.change)),
            images.index(("database", t.positive, t.change)),
            images.index(("database", int(n), t.change)),
        )
        for t in part
        for n in t.negatives
    ]
    assert list(zip(*(side.tolist() for side in triplet_places(part)), strict=True)) == twin


def test_steps_by_hand() -> None:
    a, b, c = PLAIN
    found = [a, None, b, c, None, None, None, None, a, None]
    assert as_steps(found, 2, 2) == [[[a, b], [c]], [[a]]]
    assert as_steps(found, 4, 1) == [[[a, b, c]], [[a]]]
    assert as_steps(found, 1, 8) == [[[a], [b], [c]], [[a]]]
    assert as_steps([None, None], 1, 1) == []


@pytest.mark.parametrize(("queries", "parts"), [(1, 1), (1, 8), (2, 3), (4, 1), (3, 100)])
def test_steps_hold_every_tuple_once_in_its_order(queries: int, parts: int) -> None:
    found = [PLAIN[i % 3] if i % 4 else None for i in range(31)]
    steps = as_steps(found, queries, parts)
    assert [t for step in steps for part in step for t in part] == [t for t in found if t]
    assert all(0 < len(part) <= queries for step in steps for part in step)
    assert all(0 < len(step) <= parts for step in steps)
