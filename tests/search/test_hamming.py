"""Neighbours of sign bits: as those of the vectors that they stand for, equal ones by row."""

import numpy as np
import pytest

from vprlib.descriptors.quantisers import Coded, Quantiser
from vprlib.descriptors.rows import Rows
from vprlib.search import exact
from vprlib.search.hamming import search_parts
from vprlib.search.request import Neighbors, SearchRequest, collect

MEMORY = 2**20


def search(
    queries: Rows, database: Rows, count: int, memory: int, excluded: np.ndarray | None = None
) -> Neighbors:
    """All queries at once."""
    return collect(search_parts, SearchRequest(queries, database, count, memory, 1, excluded))


def bits(count: int, dim: int, seed: int) -> Coded:
    quantiser = Quantiser("binary", dim)
    vectors = np.random.default_rng(seed).normal(size=(count, dim))
    return Coded(quantiser.encode(vectors), quantiser)


@pytest.mark.parametrize("dim", [8, 16, 64, 136])
@pytest.mark.parametrize("memory", [MEMORY, 1])  # 1: 1,024 rows of the database
def test_bits_find_what_counting_them_one_by_one_finds(dim: int, memory: int) -> None:
    queries, database = bits(7, dim, 1), bits(1300, dim, 2)  # few dimensions: many are equal
    found = search(queries, database, 11, memory)
    for query in range(7):
        differing = [
            int(np.unpackbits(code ^ queries.codes[query]).sum()) for code in database.codes
        ]
        nearest = sorted(range(1300), key=lambda row: (differing[row], row))[:11]
        assert found.rows[query].tolist() == nearest
        expected = np.sqrt(4 / dim * np.array([differing[row] for row in nearest]))
        np.testing.assert_allclose(found.distances[query], expected, atol=1e-6)
        assert found.distances.dtype == np.float32


def test_bits_find_what_the_vectors_that_they_stand_for_find() -> None:
    queries, database = bits(5, 24, 1), bits(60, 24, 2)
    found = search(queries, database, 9, MEMORY)
    expected = collect(exact.search_parts, SearchRequest(queries[:], database[:], 9, MEMORY, 1))
    np.testing.assert_allclose(found.distances, expected.distances, atol=1e-6)


def test_floats_on_one_side_are_searched_as_floats() -> None:
    queries = np.random.default_rng(3).normal(size=(4, 24)).astype(np.float32)
    database = bits(60, 24, 2)
    found = search(queries, database, 9, MEMORY)
    expected = collect(exact.search_parts, SearchRequest(queries, database[:], 9, MEMORY, 1))
    np.testing.assert_array_equal(found.rows, expected.rows)
    np.testing.assert_array_equal(found.distances, expected.distances)


def test_a_small_database_is_found_whole_and_itself_first() -> None:
    database = bits(6, 64, 2)
    found = search(database, database, 20, MEMORY)
    assert found.rows.shape == (6, 6)
    assert found.rows[:, 0].tolist() == list(range(6)) and not found.distances[:, 0].any()


def test_parts_cover_all_queries_within_the_memory() -> None:
    request = SearchRequest(bits(200, 8, 1), bits(50, 8, 2), 4, 4096, 1)
    parts = [part for part, _ in search_parts(request)]
    assert [row for part in parts for row in range(part.start, part.stop)] == list(range(200))
    assert len(parts) > 1


@pytest.mark.parametrize("memory", [MEMORY, 1])
def test_what_is_left_out_is_never_found(memory: int) -> None:
    queries, database = bits(70, 16, 1), bits(1300, 16, 2)
    excluded = np.arange(0, 1300, 3)
    kept = np.setdiff1d(np.arange(1300), excluded)
    others = Coded(database.codes[kept], database.quantiser)
    found, expected = (
        search(queries, rows, 9, memory, some)
        for rows, some in ((database, excluded), (others, None))
    )
    np.testing.assert_array_equal(found.rows, kept[expected.rows])
    np.testing.assert_array_equal(found.distances, expected.distances)
    nothing = search(queries, database, 9, memory, np.arange(1300))
    assert (nothing.rows == -1).all() and np.isinf(nothing.distances).all()
