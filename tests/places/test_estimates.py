"""Where results agree: places by rank, the weighted middle, and how far it spreads."""

import numpy as np
import pytest

from vprlib.places import geo
from vprlib.places.estimates import estimate


def test_few_positions_have_the_places_that_a_tree_would_give_them(monkeypatch) -> None:
    draw = np.random.default_rng(1)
    for _ in range(20):
        positions = draw.uniform(0, 60, (30, 2))
        positions[draw.random(30) < 0.1] = np.nan
        found = geo.locations(positions, 15.0)
        with monkeypatch.context() as small:
            small.setattr(geo, "BLOCK", 7)
            expected = geo.locations(positions, 15.0)
        pairs = set(zip(found.tolist(), expected.tolist(), strict=True))
        assert len(pairs) == found.max() + 1 == expected.max() + 1
        assert found[0] == 0 and (np.diff(np.maximum.accumulate(found)) <= 1).all()


def test_the_estimate_is_the_weighted_middle_of_the_first_place() -> None:
    positions = np.array([[0.0, 0], [100, 0], [10, 0], [0, 20]])
    degrees = positions[:, ::-1] / 1e5 + [13.0, 52.0]
    found = estimate(positions, degrees, np.array([0.6, 0.9, 0.3, 0.1]), 25.0)
    assert found is not None
    assert found.metres == pytest.approx([3.0, 2.0])
    assert found.degrees == pytest.approx([13.0 + 2e-5, 52.0 + 3e-5])
    assert (found.agree, found.results) == (3, 4)
    assert found.spread_m == pytest.approx(np.hypot(3, 18))


def test_a_place_on_the_date_line_has_its_middle_there() -> None:
    degrees = np.array([[179.9999, -17.0], [-179.9999, -17.0]])
    found = estimate(np.zeros((2, 2)), degrees, np.array([0.5, 0.5]), 25.0)
    assert found is not None and found.degrees is not None
    assert abs(abs(found.degrees[0]) - 180) < 1e-9


def test_without_a_position_nothing_is_estimated() -> None:
    nowhere = np.array([[np.nan, np.nan], [1.0, 2.0]])
    assert estimate(nowhere, None, np.ones(2), 25.0) is None
    assert estimate(np.zeros((0, 2)), None, np.ones(0), 25.0) is None


def test_scores_below_zero_still_count_a_little() -> None:
    found = estimate(np.array([[0.0, 0], [10, 0]]), None, np.array([-0.5, -0.7]), 25.0)
    assert found is not None and found.metres == pytest.approx([5.0, 0.0])
