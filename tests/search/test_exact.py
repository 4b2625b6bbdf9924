"""Exact search: equal to the sorted brute force whatever the blocks, ties by row."""

from collections.abc import Iterator
from pathlib import Path

import faiss
import h5py
import numpy as np
import pytest
from vectors import unit

from vprlib.pipeline.params import UserError
from vprlib.search import exact
from vprlib.search.request import Neighbors, SearchRequest, collect

SMALL, LARGE = 1, 2**28  # bytes; the small budget still takes blocks of 1024 rows


def search(*request: object) -> Neighbors:
    return collect(exact.search_parts, SearchRequest(*request))


def brute(queries: np.ndarray, database: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and distances by float64 and a full sort, equal distances by row."""
    rows, distances = [], []
    for query in queries.astype(np.float64):
        squared = ((database.astype(np.float64) - query) ** 2).sum(axis=1)
        order = np.lexsort((np.arange(len(squared)), squared))[:count]
        rows.append(order)
        distances.append(np.sqrt(squared[order]))
    return np.array(rows), np.array(distances)


def test_three_points_by_hand() -> None:
    database = np.array([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]], dtype=np.float32)
    found = search(np.array([[0.0, 0.0]], dtype=np.float32), database, 3, LARGE, 1)
    assert found.rows.tolist() == [[0, 2, 1]]
    assert found.distances.tolist() == [[0.0, 1.0, 5.0]]


@pytest.mark.parametrize("dim", [2, 4, 48])
@pytest.mark.parametrize("budget", [SMALL, 100_000, LARGE])
@pytest.mark.parametrize("count", [1, 20])
def test_search_equals_brute_force(dim: int, budget: int, count: int) -> None:
    queries, database = unit(40, dim, 1), unit(3500, dim, 2)
    found = search(queries, database, count, budget, 1)
    _, distances = brute(queries, database, count)
    np.testing.assert_allclose(found.distances, distances, atol=1e-5)
    own = np.linalg.norm(database[found.rows].astype(np.float64) - queries[:, None], axis=2)
    np.testing.assert_allclose(own, distances, atol=1e-5)
    assert all(len(set(row)) == count for row in found.rows.tolist())


def test_many_queries_come_back_in_their_order() -> None:
    queries, database = unit(2600, 3, 1), unit(50, 3, 2)
    found = search(queries, database, 2, SMALL, 1)
    np.testing.assert_array_equal(found.rows, brute(queries, database, 2)[0])


@pytest.mark.parametrize("budget", [SMALL, LARGE])
@pytest.mark.parametrize("count", [1, 5, 20, 150])
def test_equal_distances_come_by_row(budget: int, count: int) -> None:
    generator = np.random.default_rng(3)
    queries, database = (generator.integers(0, 4, (n, 2)).astype(np.float32) for n in (30, 3300))
    found = search(queries, database, count, budget, 1)
    np.testing.assert_array_equal(found.rows, brute(queries, database, count)[0])


@pytest.mark.parametrize("budget", [SMALL, LARGE])
def test_an_index_finds_its_own_rows(budget: int) -> None:
    database = unit(2500, 8)
    found = search(database, database, 1, budget, 1)
    assert found.rows[:, 0].tolist() == list(range(2500))
    np.testing.assert_allclose(found.distances, 0, atol=1e-5)


def test_of_two_equal_images_the_first_is_found_first() -> None:
    one = unit(1200, 16)
    found = search(one, np.concatenate([one, one]), 2, SMALL, 1)
    assert found.rows.tolist() == [[row, row + 1200] for row in range(1200)]


def test_where_the_database_is_smaller_all_of_it_is_found() -> None:
    found = search(unit(3, 4), unit(5, 4, 2), 20, LARGE, 1)
    assert [sorted(row) for row in found.rows.tolist()] == [[0, 1, 2, 3, 4]] * 3


def test_no_queries_find_nothing() -> None:
    found = search(unit(0, 4), unit(5, 4), 3, LARGE, 1)
    assert found.rows.shape == found.distances.shape == (0, 3)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.float64])
def test_search_reads_from_disk_a_block_at_a_time(tmp_path: Path, dtype: type) -> None:
    queries, database = unit(10, 4), unit(3000, 4, 2).astype(dtype)
    with h5py.File(tmp_path / "d.h5", "w") as file:
        stored = file.create_dataset("d", data=database)
        found = search(queries, stored, 5, SMALL, 1)
    twin = search(queries, database.astype(np.float32), 5, LARGE, 1)
    np.testing.assert_array_equal(found.rows, twin.rows)


def test_threads_change_no_byte() -> None:
    queries, database = unit(200, 16), unit(3000, 16, 2)
    one, two = (search(queries, database, 10, LARGE, threads) for threads in (1, 2))
    assert one.rows.tobytes() == two.rows.tobytes()
    assert one.distances.tobytes() == two.distances.tobytes()


def long_vectors(count: int, dim: int, seed: int) -> np.ndarray:
    """Close to one another and far from the origin, where |q|² + |d|² − 2 q·d loses digits."""
    offsets = np.random.default_rng(seed).normal(size=(count, dim)) / np.sqrt(dim)
    return (300 + 0.5 * offsets).astype(np.float32)


@pytest.fixture
def by_product() -> Iterator[None]:
    """Faiss takes |q|² + |d|² − 2 q·d, as its older releases always do."""
    before = faiss.cvar.distance_compute_blas_threshold
    faiss.cvar.distance_compute_blas_threshold = 1
    yield
    faiss.cvar.distance_compute_blas_threshold = before


@pytest.mark.parametrize("budget", [SMALL, LARGE])
def test_neighbours_that_rounding_blurs_are_told_apart(budget: int, by_product: None) -> None:
    queries, database = long_vectors(60, 64, 1), long_vectors(3000, 64, 2)
    found = search(queries, database, 10, budget, 1)
    rows, distances = brute(queries, database, 10)
    np.testing.assert_array_equal(found.rows, rows)
    np.testing.assert_allclose(found.distances, distances, atol=1e-5)
    blurred = faiss.knn(queries, database, 10)[1]
    assert (blurred != rows).any()  # or this would show nothing


@pytest.mark.parametrize("budget", [SMALL, LARGE])
def test_of_very_many_equal_rows_the_first_are_found(budget: int, by_product: None) -> None:
    database = unit(2500, 16)
    database[200:2400] = database[200]
    found = search(database[190:210], database, 5, budget, 1)
    assert (found.rows[10:] == np.arange(200, 205)).all()
    np.testing.assert_array_equal(found.distances[10:], 0)


def test_memory_changes_no_byte() -> None:
    queries, database = unit(300, 24), unit(5000, 24, 2).astype(np.float16)
    found = [search(queries, database, 10, budget, 1) for budget in (SMALL, 2**22, LARGE)]
    assert len({f.rows.tobytes() + f.distances.tobytes() for f in found}) == 1


@pytest.mark.parametrize("budget", [SMALL, LARGE])
def test_excluded_rows_are_never_found_nor_read(budget: int) -> None:
    queries, database = unit(30, 8), unit(2600, 8, 2)
    excluded = np.unique(search(queries, database, 3, LARGE, 1).rows)
    kept = np.setdiff1d(np.arange(2600), excluded)
    broken = database.copy()
    broken[excluded] = np.nan
    found = search(queries, broken, 10, budget, 1, excluded)
    np.testing.assert_array_equal(found.rows, kept[brute(queries, database[kept], 10)[0]])
    few = search(queries, database, 200, budget, 1, kept[3:])
    assert ((few.rows >= 0).sum(axis=1) == len(excluded) + 3).all()
    assert (search(queries, database, 10, budget, 1, np.arange(2600)).rows == -1).all()


def test_descriptors_that_are_not_finite_are_one_sentence() -> None:
    broken = unit(10, 4)
    broken[3] = np.nan
    for sides in ((unit(2, 4), broken), (broken, unit(2, 4))):
        with pytest.raises(UserError, match="1 of 10 descriptors are not finite"):
            search(*sides, 2, LARGE, 1)


def test_distances_are_those_of_the_flat_index(tmp_path: Path) -> None:
    queries, database = unit(100, 512), unit(4000, 512, 2)
    index = faiss.IndexFlatL2(512)
    index.add(database)
    squared, rows = index.search(queries, 20)
    found = search(queries, database, 20, LARGE, 1)
    np.testing.assert_allclose(found.distances, np.sqrt(squared), atol=1e-5)
    differ = found.rows != rows  # where the gap is smaller than that alone
    assert (np.abs(found.distances - np.sqrt(squared))[differ] < 1e-5).all()


def test_the_budget_bounds_what_is_read_at_once_and_how_often() -> None:
    class Watched(np.ndarray):
        sizes: list[int]

        def __getitem__(self, rows: slice) -> np.ndarray:
            self.sizes.append(rows.stop - rows.start)
            return np.asarray(self)[rows]

    database = unit(4000, 64, 2).astype(np.float16).view(Watched)
    for budget, times in ((2**30, 1), (2**19, 5)):
        database.sizes = []
        search(unit(1000, 64), database, 5, budget, 1)
        assert sum(database.sizes) == times * 4000, (budget, sum(database.sizes))
