"""Locations: by hand, and against the loop over leaders."""

import numpy as np
import pytest

from vprlib.places.geo import BLOCK, locations


def loop(positions: np.ndarray, distance_m: float) -> list[int]:
    leaders, labels = [], []
    for position in positions:
        near = [n for n, at in enumerate(leaders) if np.hypot(*(at - position)) <= distance_m]
        if not near:
            leaders.append(position)
        labels.append(near[0] if near else len(leaders) - 1)
    return labels


def test_locations_do_not_chain_a_street() -> None:
    street = np.array([[0.0, 0], [0.8, 0], [1.6, 0], [2.4, 0], [0.8, 0.1]])
    assert locations(street, 1.0).tolist() == [0, 0, 1, 1, 0]


@pytest.mark.parametrize(("count", "distance_m"), [(80, 1.0), (4 * BLOCK, 0.7), (BLOCK, 30.0)])
def test_locations_equal_the_loop_over_leaders(count: int, distance_m: float) -> None:
    positions = np.random.default_rng(5).uniform(0, 9, (count, 2))
    assert locations(positions, distance_m).tolist() == loop(positions, distance_m)


def test_the_distance_is_inclusive() -> None:
    pair = np.array([[0.0, 0.0], [3.0, 4.0]])
    assert locations(pair, 5.0).tolist() == [0, 0]
    assert locations(pair, 4.999).tolist() == [0, 1]


def test_unknown_positions_are_locations_of_their_own() -> None:
    nan = [np.nan, np.nan]
    found = locations(np.array([nan, [5.0, 5.0], nan, [5.0, 5.5], [9.0, 9.0]]), 1.0)
    assert found.tolist() == [0, 1, 2, 1, 3]
    assert locations(np.array([nan, nan]), 1.0).tolist() == [0, 1]


def test_no_positions_have_no_locations() -> None:
    assert locations(np.zeros((0, 2)), 1.0).tolist() == []
