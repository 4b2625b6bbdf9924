"""Rows read in blocks, gathered and measured: the same numbers wherever they lie."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from vprlib.descriptors.rows import (
    Reader,
    RowSubset,
    gather,
    runs,
    squared_between,
    squared_lengths,
)
from vprlib.pipeline.params import UserError


def vectors(count: int, dim: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)


def stored(folder: Path, values: np.ndarray, **options: object) -> h5py.Dataset:
    return h5py.File(folder / "rows.h5", "w").create_dataset("d", data=values, **options)


@pytest.fixture(params=["array", "memmap", "contiguous", "chunked"])
def placed(request, tmp_path):
    """Puts rows where they may lie."""

    def place(values: np.ndarray):
        if request.param == "array":
            return values
        if request.param == "memmap":
            values.tofile(tmp_path / "rows")
            return np.memmap(tmp_path / "rows", values.dtype, "r", shape=values.shape)
        chunks = (3, values.shape[1]) if request.param == "chunked" else None
        return stored(tmp_path, values, chunks=chunks)

    return place


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("dim", [3, 8])
def test_blocks_are_the_rows_as_float32(placed, dtype, dim) -> None:
    values = vectors(11, dim).astype(dtype)
    reader = Reader(placed(values), 4)
    found = [(start, reader.block(start).copy()) for start in reader.blocks()]
    assert [start for start, _ in found] == [0, 4, 8]
    whole = np.concatenate([block for _, block in found])
    assert whole.dtype == np.float32
    np.testing.assert_array_equal(whole, values.astype(np.float32))


def test_excluded_rows_are_left_out_and_the_others_keep_their_numbers(placed) -> None:
    values = vectors(11, 4).astype(np.float16)
    reader = Reader(placed(values), 3, np.array([10, 0, 4, 5]))
    kept = [1, 2, 3, 6, 7, 8, 9]
    numbers = [reader.numbers(s, np.arange(len(reader.block(s)))) for s in reader.blocks()]
    assert reader.count == 7 and np.concatenate(numbers).tolist() == kept
    whole = np.concatenate([reader.block(start).copy() for start in reader.blocks()])
    np.testing.assert_array_equal(whole, values[kept].astype(np.float32))


@pytest.mark.parametrize("step", [1, 3])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_some_rows_are_read_in_long_and_short_runs(placed, dtype, step) -> None:
    values, some = vectors(200, 4).astype(dtype), np.arange(5, 150, step)
    rows = placed(values)
    reader = Reader(rows, 64, np.array([20, 21]), some)
    kept = np.setdiff1d(some, [20, 21])
    whole = np.concatenate([reader.block(start).copy() for start in reader.blocks()])
    np.testing.assert_array_equal(whole, values[kept].astype(np.float32))
    subset = RowSubset(rows, kept)
    assert subset.shape == (len(kept), 4) and subset.dtype == dtype
    for part in (slice(0, 500), slice(3, 9), slice(7, 7), np.array([0, 4])):
        np.testing.assert_array_equal(subset[part], values[kept][part])
    np.testing.assert_array_equal(subset[2], values[kept[2]])


def test_runs_are_slices_of_consecutive_rows() -> None:
    assert list(runs(np.array([0, 1, 2, 5, 7, 8]))) == [slice(0, 3), slice(5, 6), slice(7, 9)]
    assert not list(runs(np.zeros(0, int)))


def test_halves_keep_their_infinities_and_their_smallest_numbers(tmp_path) -> None:
    odd = np.array([[np.inf, -np.inf, 6e-8, 65504, -0.0, 1, np.nan]], np.float16)
    np.testing.assert_array_equal(Reader(stored(tmp_path, odd), 1).block(0), odd.astype("f4"))


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_gathered_rows_are_those_asked_for(placed, dtype) -> None:
    values = vectors(50, 5).astype(dtype)
    numbers = np.array([0, 3, 4, 31, 49])
    np.testing.assert_array_equal(gather(placed(values), numbers), values[numbers].astype("f4"))
    assert gather(placed(values), np.zeros(0, int)).shape == (0, 5)


def test_distances_between_rows_equal_the_plain_sum() -> None:
    ones, others = vectors(6, 37), vectors(9, 37, seed=2)
    one_rows, other_rows = np.array([0, 5, 5, 2]), np.array([8, 0, 1, 2])
    found = squared_between(ones, one_rows, others, other_rows)
    apart = ones[one_rows].astype(np.float64) - others[other_rows]
    np.testing.assert_allclose(found, (apart**2).sum(axis=1), rtol=1e-6)
    np.testing.assert_array_equal(squared_between(ones, one_rows, ones, one_rows), 0)


def test_descriptors_that_are_not_finite_are_one_sentence() -> None:
    values = vectors(4, 3)
    np.testing.assert_allclose(squared_lengths(values), (values**2).sum(axis=1), rtol=1e-6)
    values[1, 2], values[3, 0] = np.nan, np.inf
    with pytest.raises(UserError, match=r"^2 of 4 descriptors are not finite: .*train it again"):
        squared_lengths(values)
