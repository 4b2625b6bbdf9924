"""A score near chance names its likely cause; each is planted here."""

import numpy as np
import pytest
from vectors import pairs

from vprlib.evaluate.recall import RecallSettings, evaluate
from vprlib.evaluate.sanity import causes, doubted
from vprlib.places.truth import Listed, Near

PLACES, DIM = 60, 16


@pytest.fixture
def city():
    """Two database images and one query a place; descriptors tell places apart."""
    generator = np.random.default_rng(1)
    at = np.stack([100.0 * np.arange(PLACES), np.zeros(PLACES)], axis=1)
    looks = generator.normal(size=(PLACES, DIM))

    def described(rows):
        found = looks[rows] + 0.3 * generator.normal(size=(len(rows), DIM))
        return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)

    where = np.repeat(np.arange(PLACES), 2)
    truth = Near(at, at[where] + [5.0, 0.0], 25.0)
    return described(where), described(np.arange(PLACES)), truth


def said(database, queries, truth, variant="trained", chance=0.03):
    return "; ".join(causes(database, queries, truth, variant, chance))


@pytest.mark.parametrize(("side", "name"), [(0, "database"), (1, "query")])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_descriptors_that_are_no_numbers_are_named(city, side, name, value):
    database, queries, truth = city
    (database, queries)[side][::2] = value
    assert f"{name} descriptors hold NaN or infinity" in said(database, queries, truth)


@pytest.mark.parametrize(("side", "name"), [(0, "database"), (1, "query")])
def test_descriptors_that_are_all_but_equal_are_named(city, side, name):
    sides = list(city[:2])
    sides[side] = (sides[side][:1] + 1e-4 * sides[side]).astype(np.float32)
    found = said(*sides, city[2])
    assert f"{name} descriptors are all but equal" in found and "weights not fitted" in found


def test_queries_out_of_step_are_told_from_a_database_out_of_step(city):
    database, queries, truth = city
    shuffled = np.random.default_rng(2).permutation
    found = said(database, queries[shuffled(PLACES)], truth)
    assert "names and features of the queries out of step" in found
    found = said(database[shuffled(2 * PLACES)], queries, truth)
    assert "names and features out of step" in found and "no nearer than others" in found


def test_a_network_that_tells_little_is_named(city):
    generator = np.random.default_rng(3)
    database, queries, truth = city
    blurred = [side + 0.5 * generator.normal(size=side.shape) for side in (database, queries)]
    assert "a network that is not trained" in said(*blurred, truth, variant="off_the_shelf")
    assert "a weak network" in said(*blurred, truth)


def test_a_radius_that_is_too_large_or_too_small_is_named(city):
    database, queries, truth = city
    wide = Near(truth.queries, truth.database, 1e5)
    assert "radius_m is too large" in said(database, queries, wide, chance=1.0)
    elsewhere = truth.queries.copy()
    elsewhere[10:] += 1e6
    far = Near(elsewhere, truth.database, 25.0)
    assert "wrong coordinates, or radius_m too small" in said(database, queries, far)


def test_lists_without_positions_are_judged_too(city):
    database, queries, truth = city
    right = truth.positives()
    none = pairs(*[[]] * PLACES)
    assert "right images are nearer" in said(
        database, queries, Listed(right, none, right, 2 * PLACES)
    )


def test_nothing_is_doubted_where_recall_is_good(city):
    database, queries, truth = city
    for neighbors, word in ((np.arange(PLACES)[:, None] * 2, 0), (np.full((PLACES, 1), 7), 1)):
        result = evaluate(neighbors, truth, RecallSettings())
        found = doubted(result, database, queries, truth, "trained")
        assert len(found) == word and all("HARDLY BETTER THAN CHANCE" in f for f in found)


def test_the_causes_are_the_same_each_time(city):
    assert said(*city) == said(*city)
