"""Whitening: by hand in the plane, against a float64 SVD, and what it must do to its sample."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from vectors import whitened

from vprlib.descriptors.whitening import EPSILON, Whitening, blocks, fit
from vprlib.pipeline.params import UserError

LARGE, SMALL = 2**28, 2**12  # bytes; the small budget takes blocks of a few rows or columns
SHAPES = [(300, 12), (40, 200), (50, 50)]  # primal, dual, and where both would do


def unit(count: int, dim: int, seed: int = 1) -> np.ndarray:
    """Unit vectors whose variance falls from direction to direction, away from the origin."""
    generator = np.random.default_rng(seed)
    turned, _ = np.linalg.qr(generator.normal(size=(dim, dim)))
    vectors = (generator.normal(size=(count, dim)) * 0.97 ** np.arange(dim)) @ turned + 0.3
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def fitted(sample: np.ndarray, dimensions: int = 10**6, memory: int = LARGE) -> Whitening:
    return fit(sample, dimensions, memory, 1)


def by_svd(sample: np.ndarray, dimensions: int) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues and projection from the singular values of the centred sample, in float64."""
    centred = sample.astype(np.float64) - sample.astype(np.float64).mean(axis=0)
    _, singular, directions = np.linalg.svd(centred, full_matrices=False)
    values = singular[:dimensions] ** 2 / (len(sample) - 1)
    projection = directions[:dimensions] / np.sqrt(values + 1e-9)[:, None]
    for row in projection:
        row *= np.sign(row[np.abs(row).argmax()])
    return values, projection


def test_four_points_of_the_plane_by_hand() -> None:
    sample = np.array([[3, 1], [-1, 1], [1, 2], [1, 0]], np.float32)
    found = fitted(sample)  # variances 8/3 and 2/3 along the axes, around (1, 1)
    np.testing.assert_allclose(found.mean, [1, 1])
    np.testing.assert_allclose(found.eigenvalues, [8 / 3, 2 / 3])
    np.testing.assert_allclose(found.variance_ratio, [0.8, 0.2])
    np.testing.assert_allclose(
        found.projection, [[np.sqrt(3 / 8), 0], [0, np.sqrt(3 / 2)]], atol=1e-7
    )
    kept = whitened(found, np.array([[2, 1], [1, 3], [3, 2]], np.float32))
    np.testing.assert_allclose(kept, [[1, 0], [0, 1], [np.sqrt(0.5)] * 2], atol=1e-6)


@pytest.mark.parametrize("memory", [SMALL, LARGE])
@pytest.mark.parametrize("shape", SHAPES)
def test_it_equals_the_singular_value_decomposition(shape: tuple[int, int], memory: int) -> None:
    sample = unit(*shape)
    found = fitted(sample, 10, memory)
    values, projection = by_svd(sample, 10)
    np.testing.assert_allclose(found.eigenvalues, values, rtol=1e-10)
    np.testing.assert_allclose(found.projection, projection, rtol=0, atol=1e-6 * projection.max())


@pytest.mark.parametrize("shape", SHAPES)
def test_the_whitened_sample_has_identity_covariance(shape: tuple[int, int]) -> None:
    sample = unit(*shape)
    found = fitted(sample, min(shape) - 1)
    white = (sample - found.mean) @ found.projection.T.astype(np.float64)
    expected = np.diag(found.eigenvalues / (found.eigenvalues + EPSILON))
    np.testing.assert_allclose(np.cov(white.T), expected, atol=1e-5)


def test_the_dual_form_says_the_same_as_the_covariance_of_columns() -> None:
    sample = unit(40, 30)
    wider = np.concatenate([sample, np.zeros((40, 70), np.float32)], axis=1)  # columns of zeros
    primal, dual = fitted(sample, 25), fitted(wider, 25)
    np.testing.assert_allclose(dual.eigenvalues, primal.eigenvalues, rtol=1e-11)
    np.testing.assert_allclose(dual.projection[:, :30], primal.projection, atol=1e-5)
    np.testing.assert_array_equal(dual.projection[:, 30:], 0)


def test_fewer_dimensions_are_the_first_of_more() -> None:
    sample = unit(60, 90)
    many, few = fitted(sample, 40), fitted(sample, 8)
    np.testing.assert_array_equal(few.projection, many.projection[:8])
    vectors = unit(25, 90, seed=2)
    first = whitened(many, vectors)[:, :8]
    first = first / np.linalg.norm(first, axis=1, keepdims=True)
    np.testing.assert_allclose(whitened(few, vectors), first, atol=2e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_same_sample_gives_the_same_bytes(shape: tuple[int, int]) -> None:
    first, second = (fitted(unit(*shape)) for _ in range(2))
    assert all(vars(first)[name].tobytes() == vars(second)[name].tobytes() for name in vars(first))


@pytest.mark.parametrize("shape", SHAPES)
def test_the_largest_component_of_each_direction_is_positive(shape: tuple[int, int]) -> None:
    projection = fitted(unit(*shape)).projection
    largest = np.abs(projection).argmax(axis=1)
    assert (projection[np.arange(len(projection)), largest] > 0).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_block_sizes_move_nothing_beyond_rounding(shape: tuple[int, int]) -> None:
    sample = unit(*shape)
    small, large = fitted(sample, 10, SMALL), fitted(sample, 10, LARGE)
    np.testing.assert_allclose(small.projection, large.projection, atol=1e-4)
    np.testing.assert_allclose(small.eigenvalues, large.eigenvalues, rtol=1e-11)


@pytest.mark.parametrize("shape", [(300, 12), (40, 200)])
def test_a_sample_on_disk_is_read_in_blocks(tmp_path: Path, shape: tuple[int, int]) -> None:
    sample = unit(*shape)
    with h5py.File(tmp_path / "sample.h5", "w") as file:
        stored = file.create_dataset("descriptors", data=sample)
        found = fitted(stored, 5, SMALL)
    assert found.projection.tobytes() == fitted(sample, 5, SMALL).projection.tobytes()


@pytest.mark.parametrize("memory", [1, 999, LARGE])
@pytest.mark.parametrize("count", [0, 1, 7])
def test_blocks_cover_everything_once(count: int, memory: int) -> None:
    rows = [row for part in blocks(count, 64, memory) for row in range(count)[part]]
    assert rows == list(range(count))


@pytest.mark.parametrize(
    ("count", "dim", "expected"), [(5, 100, 4), (2, 9, 1), (9, 9, 8), (100, 6, 6)]
)
def test_no_more_dimensions_are_kept_than_the_sample_has(
    count: int, dim: int, expected: int
) -> None:
    found = fitted(np.random.default_rng(1).normal(size=(count, dim)).astype(np.float32))
    assert len(found.projection) == len(found.eigenvalues) == expected
    assert found.variance_ratio.sum() == pytest.approx(1)


def test_a_ten_thousandth_of_the_length_is_variance_and_a_ten_millionth_is_rounding() -> None:
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
    found = fitted((corners * [1, 1e-4, 1e-7]).astype(np.float32))
    np.testing.assert_allclose(found.eigenvalues, [8 / 7, 8 / 7 * 1e-8], rtol=1e-6)


@pytest.mark.parametrize("shape", [(500, 40), (60, 500)])
def test_directions_that_only_rounding_fills_are_left_out(shape: tuple[int, int]) -> None:
    generator = np.random.default_rng(3)
    count, dim = shape
    sample = generator.normal(size=(count, 3)) @ generator.normal(size=(3, dim)) + 1
    sample /= np.linalg.norm(sample, axis=1, keepdims=True)
    stored = sample.astype(np.float32) * (1 + 2e-7 * generator.normal(size=shape))
    found = fitted(stored.astype(np.float32))
    assert len(found.projection) <= 4  # of three directions, bent once by the unit sphere
    assert np.isfinite(found.projection).all()


def test_images_that_are_in_the_sample_twice_add_no_dimension() -> None:
    assert len(fitted(np.tile(unit(10, 64), (3, 1))).projection) == 9


@pytest.mark.parametrize("count", [1, 2, 50])
@pytest.mark.parametrize("value", [0.0, 0.1])
def test_descriptors_that_are_all_the_same_are_refused(count: int, value: float) -> None:
    with pytest.raises(
        UserError, match=f"different descriptors, but all {count} of its sample are equal"
    ):
        fitted(np.full((count, 20), value, np.float32))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_descriptors_that_are_no_numbers_are_refused(value: float) -> None:
    sample = unit(30, 8)
    sample[7, 3] = value
    with pytest.raises(UserError, match="some of the 30 descriptors to fit whitening on are not"):
        fitted(sample)


def test_the_mean_itself_has_no_direction_and_stays_a_number() -> None:
    found = fitted(np.array([[1, 0], [-1, 0], [0, 2], [0, -2]], np.float32))
    np.testing.assert_array_equal(whitened(found, np.zeros((1, 2), np.float32)), [[0, 0]])
