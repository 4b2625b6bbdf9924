"""Exact search: equal to the sorted brute force whatever the blocks, ties by row."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from vprlib.search import search

SMALL, LARGE = 1, 2**28  # bytes; the small budget still takes blocks of 1024 rows


def brute(queries: np.ndarray, database: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and distances by float64 and a full sort, equal distances by row."""
    rows, distances = [], []
    for query in queries.astype(np.float64):
        squared = ((database.astype(np.float64) - query) ** 2).sum(axis=1)
        order = np.lexsort((np.arange(len(squared)), squared))[:count]
        rows.append(order)
        distances.append(np.sqrt(squared[order]))
    return np.array(rows), np.array(distances)


def unit(count: int, dim: int, seed: int = 1) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


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
