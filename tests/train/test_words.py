"""k-means: all points count, the objective never rises, one seed gives one answer."""

from pathlib import Path

import numpy as np
import pytest

from vprlib.pipeline.artifacts import write_hdf5
from vprlib.pipeline.params import UserError
from vprlib.train.words import (
    Clustering,
    KmeansSettings,
    cluster,
    no_words,
    read_descriptors,
    sentence,
)


def points(count: int, dim: int = 4, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)


def clustered(descriptors: np.ndarray, threads: int = 1, **settings: int) -> Clustering:
    return cluster(descriptors, KmeansSettings(**settings), threads)


def test_two_heaps_by_hand() -> None:
    heaps = np.array([[0, 0], [0, 2], [10, 0], [10, 2], [10, 4]], dtype=np.float32)
    found = clustered(heaps, clusters=2, iterations=10)
    centroids = found.centroids[np.argsort(found.centroids[:, 0])]
    np.testing.assert_allclose(centroids, [[0, 1], [10, 2]], atol=1e-6)
    assert found.objective[-1] == pytest.approx(1 + 1 + 4 + 0 + 4)


def test_the_objective_never_rises() -> None:
    objective = clustered(points(600), clusters=8, iterations=40).objective
    assert 5 < len(objective) <= 40  # Faiss stops where nothing moves any more
    assert (np.diff(objective) <= 1e-5 * objective[:-1]).all()
    assert objective[-1] < objective[0]


def test_all_points_count_and_not_256_a_centroid() -> None:
    many = points(3000)
    found = clustered(many, clusters=1, iterations=3)
    np.testing.assert_allclose(found.centroids[0], many.mean(axis=0), atol=1e-5)


def test_each_centroid_is_the_mean_of_its_own_points() -> None:
    many = points(2000, dim=2)
    found = clustered(many, clusters=3, iterations=100)
    squared = ((many[:, None].astype(np.float64) - found.centroids[None]) ** 2).sum(axis=2)
    nearest = squared.argmin(axis=1)
    twin = np.array([many[nearest == k].mean(axis=0) for k in range(3)])
    np.testing.assert_allclose(found.centroids, twin, atol=1e-3)
    assert found.objective[-1] == pytest.approx(squared.min(axis=1).sum(), rel=1e-3)


@pytest.mark.parametrize("threads", [1, 2])
def test_same_seed_same_bytes(threads: int) -> None:
    first = clustered(points(700), clusters=5, iterations=10, seed=3)
    again = clustered(points(700), threads, clusters=5, iterations=10, seed=3)
    assert first.centroids.tobytes() == again.centroids.tobytes()
    assert first.objective.tobytes() == again.objective.tobytes()


def test_another_seed_starts_elsewhere() -> None:
    first, other = (clustered(points(700), clusters=5, iterations=1, seed=s) for s in (1, 2))
    assert not np.array_equal(first.centroids, other.centroids)


def test_as_many_words_as_points_are_the_points() -> None:
    few = points(6)
    found = clustered(few, clusters=6, iterations=5)
    np.testing.assert_allclose(np.sort(found.centroids, axis=0), np.sort(few, axis=0), atol=1e-6)
    assert found.objective[-1] == pytest.approx(0, abs=1e-6)


def test_more_words_than_points_are_a_sentence() -> None:
    with pytest.raises(UserError, match=r"kmeans\.clusters is 7, but the sample has 6 descript"):
        clustered(points(6), clusters=7)


def test_the_input_is_left_as_it_is() -> None:
    few = points(50)
    before = few.copy()
    clustered(few, clusters=3, iterations=5)
    np.testing.assert_array_equal(few, before)


def test_descriptors_are_read_with_the_name_of_their_set(tmp_path: Path) -> None:
    write_hdf5(tmp_path / "s.h5", {"descriptors": points(6)}, {"set": "city_train"})
    found, name = read_descriptors(tmp_path / "s.h5")
    np.testing.assert_array_equal(found, points(6))
    assert name == "city_train"


def test_a_pool_without_words_gets_none_of_the_right_width() -> None:
    found = no_words(7)
    assert found.centroids.shape == (0, 7)
    assert sentence(found, 0) == "k-means: no words needed"
