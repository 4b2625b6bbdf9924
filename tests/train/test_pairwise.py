"""Squared distances of all pairs: by hand, against a loop, in blocks and from mapped files."""

from pathlib import Path

import numpy as np
import pytest
import torch
from vectors import unit

from vprlib.pipeline.arrays import scratch_array
from vprlib.train.pairwise import forget, nearest, squared_distances

CPU = torch.device("cpu")
LARGE = 2**20
DIM = 40


def mapped_bytes(path: Path) -> int:
    """How much of a file this process has mapped in."""
    blocks = Path("/proc/self/smaps").read_text().split(str(path))
    return 1024 * sum(int(block.split("Rss:")[1].split()[0]) for block in blocks[1:])


def test_squared_distances_by_hand() -> None:
    database = np.array([[0, 0], [3, 4], [1, 1]], np.float32)
    found = squared_distances(np.array([[0, 0], [1, 0]], np.float32), database,
                              np.array([2, 1]), CPU, LARGE)  # fmt: skip
    assert found.tolist() == [[2, 25], [1, 20]]
    assert found.dtype == np.float32


@pytest.mark.parametrize("block_bytes", [1, 700, 2000, LARGE])
@pytest.mark.parametrize("order", ["all", "rising", "mixed", "swapped"])
def test_squared_distances_equal_a_loop_in_blocks_of_any_size(block_bytes: int, order: str) -> None:
    queries, database = unit(7, DIM), unit(30, DIM, 2)
    rows = {
        "all": range(30),
        "rising": range(2, 28, 3),
        "mixed": [9, 8, 29, 0, 1, 2, 17],
        "swapped": [3, 5, 4, 6],
    }[order]
    found = squared_distances(queries, database, np.array(rows), CPU, block_bytes)
    for query in range(7):
        for column, row in enumerate(rows):
            offsets = queries[query].astype(np.float64) - database[row]
            assert found[query, column] == pytest.approx(offsets @ offsets, abs=1e-6)


def test_many_dimensions_keep_the_distances_of_unit_vectors_right_to_millionths() -> None:
    queries, database = unit(5, 32_768), unit(40, 32_768, 2)
    database[:5] = queries
    found = squared_distances(queries, database, np.arange(40), CPU, 2**25)
    offsets = queries[:, None].astype(np.float64) - database
    assert np.abs(found - (offsets**2).sum(axis=2)).max() < 4e-6


def test_equal_vectors_are_never_less_than_nothing_apart() -> None:
    same = unit(50, 1000, 3)
    found = squared_distances(same, same, np.arange(50), CPU, LARGE)
    assert (found >= 0).all() and np.diag(found).max() < 4e-6


def test_no_query_and_no_row_have_no_distances() -> None:
    none, some = np.zeros(0, np.int64), unit(3, DIM)
    assert squared_distances(some, some, none, CPU, LARGE).shape == (3, 0)
    assert squared_distances(some[:0], some, np.arange(3), CPU, LARGE).shape == (0, 3)


@pytest.mark.skipif(
    not Path("/proc/self/smaps").exists(), reason="Linux alone tells what is mapped"
)
def test_a_mapped_file_is_read_and_let_go(tmp_path: Path) -> None:
    path = tmp_path / "vectors.f32"
    database = scratch_array(path, (2000, 256))
    database[:] = unit(2000, 256, 4)
    assert mapped_bytes(path) == database.nbytes
    queries, rows = unit(3, 256, 5), np.arange(2000)
    found = squared_distances(queries, database, rows, CPU, 100_000)
    assert mapped_bytes(path) == 0
    assert np.array_equal(found, squared_distances(queries, np.array(database), rows, CPU, 100_000))
    every_third = database[::3]
    assert every_third.sum() != 0 and mapped_bytes(path) > 0
    forget(every_third)
    assert mapped_bytes(path) == 0


def test_what_was_written_outlives_letting_go(tmp_path: Path) -> None:
    path = tmp_path / "vectors.f32"
    scratch_array(path, (4, 3))[:] = 1
    for mode, kept in (("r+", 2), ("c", 3)):
        array = np.memmap(path, np.float32, mode, shape=(4, 3))
        array[:] = kept
        forget(array)
        assert (array == kept).all()
    forget(np.ones(3))
    assert (np.fromfile(path, np.float32) == 2).all()


@pytest.mark.parametrize("memory", [16, 5000, 2**30])
@pytest.mark.parametrize("count", [1, 4, 60])
def test_the_nearest_are_those_of_a_sorted_loop(memory: int, count: int) -> None:
    queries, database = unit(23, DIM, 3), unit(50, DIM, 4)
    rows, squared = nearest(queries, database, count, CPU, memory)
    for query, found, distances in zip(queries, rows, squared, strict=True):
        every = ((database - query) ** 2).sum(axis=1)
        np.testing.assert_array_equal(found, np.argsort(every)[:count])
        np.testing.assert_allclose(distances, np.sort(every)[:count], atol=1e-5)


def test_equally_near_images_come_by_row() -> None:
    database = np.repeat(np.eye(2, dtype=np.float32), 3, axis=0)
    rows, squared = nearest(np.eye(2, dtype=np.float32)[1:], database, 6, CPU, LARGE)
    assert rows.tolist() == [[3, 4, 5, 0, 1, 2]] and squared.tolist() == [[0, 0, 0, 2, 2, 2]]
