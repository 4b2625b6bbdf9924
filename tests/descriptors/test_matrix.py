"""A whitening matrix in fewer bytes: against the whole one, and the best of its rank."""

import numpy as np
import pytest

from vprlib.descriptors.matrix import Matrix, MatrixSettings, from_arrays, of_lower_rank, to_arrays


@pytest.fixture
def projection() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(5, 12)).astype(np.float32)


@pytest.fixture
def sample() -> np.ndarray:
    """Three words of four channels, which lie near two directions."""
    draw = np.random.default_rng(2)
    words = draw.normal(size=(40, 3, 2)) @ draw.normal(size=(2, 4))
    return (words + 0.01 * draw.normal(size=words.shape)).reshape(40, 12).astype(np.float32) + 3


@pytest.mark.parametrize(("numbers", "slack"), [("float32", 0), ("float16", 2e-3), ("int8", 0.02)])
def test_a_matrix_is_read_nearly_as_it_was(projection, numbers: str, slack: float) -> None:
    for channels in (None, projection[:3, :4]):
        given = Matrix(projection, channels)
        arrays = to_arrays(given, numbers)
        assert arrays["projection"].dtype == numbers
        read = from_arrays(arrays)
        assert np.abs(read.projection - projection).max() <= slack
        assert read.projection.dtype == np.float32 and read.width == given.width
        if channels is not None:
            assert np.abs(read.channels - channels).max() <= slack


def test_each_row_of_int8_has_a_scale_of_its_own(projection) -> None:
    uneven = projection * np.array([1e-4, 1, 10, 100, 0], np.float32)[:, None]
    read = from_arrays(to_arrays(Matrix(uneven), "int8")).projection
    largest = np.abs(uneven).max(axis=1)
    assert (np.abs(read - uneven).max(axis=1) <= largest / 127 * 0.501).all()


def test_shared_channels_are_applied_word_by_word(projection) -> None:
    channels = np.random.default_rng(4).normal(size=(2, 4)).astype(np.float32)
    matrix = Matrix(projection[:, :6], channels)
    vector = np.arange(12, dtype=np.float32)
    short = [channels @ vector[4 * word : 4 * word + 4] for word in range(3)]
    expected = projection[:, :6] @ np.concatenate(short)
    np.testing.assert_allclose(matrix.apply(vector[None])[0], expected, rtol=1e-5)
    assert matrix.width == 12


def test_a_rank_that_the_sample_fills_loses_hardly_anything(projection, sample) -> None:
    mean = sample.astype(np.float64).mean(axis=0)
    short = of_lower_rank(projection, sample, mean, 2, 4, 2**20)
    centred = (sample - mean).astype(np.float32)
    whole = centred @ projection.T
    assert short.channels.shape == (2, 4) and short.projection.shape == (5, 6)
    assert np.abs(short.apply(centred) - whole).max() < 0.03 * np.abs(whole).max()


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_no_other_shared_channels_err_less_word_by_word(projection, sample, rank: int) -> None:
    sample = np.random.default_rng(7).normal(size=(200, 12)).astype(np.float32) * np.arange(1, 13)
    mean = sample.astype(np.float64).mean(axis=0)
    words = (sample - mean).reshape(-1, 4)
    parts = projection.reshape(5, 3, 4)

    def error(outer: np.ndarray, inner: np.ndarray) -> float:
        lost = words - words @ inner.T @ outer.T  # all words, which all parts weigh
        return float(sum(((lost @ parts[:, k].T) ** 2).sum() for k in range(3)))

    short = of_lower_rank(projection, sample, mean, rank, 4, 2**20)
    inner = short.channels.astype(np.float64)
    flat = projection.reshape(-1, 4).astype(np.float64)
    outer = np.linalg.lstsq(flat, short.projection.reshape(-1, rank), rcond=None)[0]
    best = error(outer, inner)
    draw = np.random.default_rng(3)
    for scale in (1e-3, 1e-2, 1e-1, 1.0) * 5:
        changes = (scale * draw.normal(size=part.shape) for part in (outer, inner))
        other = [part + change for part, change in zip((outer, inner), changes, strict=True)]
        assert error(*other) >= best * (1 - 1e-6)
    vectors = np.linalg.eigh(words.T @ words).eigenvectors
    assert best <= error(vectors[:, -rank:], vectors[:, -rank:].T) * (1 + 1e-6)


def test_small_blocks_give_the_same(projection, sample) -> None:
    mean = sample.astype(np.float64).mean(axis=0)
    whole, blocks = (of_lower_rank(projection, sample, mean, 2, 4, m) for m in (2**20, 1))
    centred = (sample - mean).astype(np.float32)
    np.testing.assert_allclose(whole.apply(centred), blocks.apply(centred), atol=1e-4)


def test_settings_that_leave_nothing_out_are_refused() -> None:
    with pytest.raises(ValueError, match=r"rank must be below matrix\.of, but is 8 of 8"):
        MatrixSettings(rank=8, of=8)
