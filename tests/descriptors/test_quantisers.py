"""Fewer bits of a vector: each against the obvious way, and what must hold of it."""

import h5py
import numpy as np
import pytest
from vectors import unit

from vprlib.descriptors.quantisers import Coded, Quantiser, bytes_a_row, learn
from vprlib.descriptors.rows import Reader, gather


def learnt(precision: str, sample: np.ndarray, parts: int | None = None) -> Quantiser:
    return Quantiser(precision, sample.shape[1], learn(precision, [sample], parts, 1, 1))


def test_int8_by_hand() -> None:
    quantiser = learnt("int8", np.array([[0.5, -1.27]], np.float32))
    codes = quantiser.encode(np.array([[0.5, -0.014], [2.0, -9.0]], np.float32))
    assert codes.dtype == np.int8 and codes.tolist() == [[50, -1], [127, -127]]
    np.testing.assert_allclose(quantiser.decode(codes), [[0.5, -0.01], [1.27, -1.27]], atol=1e-7)
    assert quantiser.decode(codes).dtype == np.float32


def test_int8_is_off_by_half_a_step_at_most_and_rounds_what_it_gave_to_itself() -> None:
    sample = unit(50, 16)
    quantiser = learnt("int8", sample)
    codes = quantiser.encode(sample)
    assert np.abs(quantiser.decode(codes) - sample).max() <= quantiser.learnt["scale"] * 0.5001
    np.testing.assert_array_equal(quantiser.encode(quantiser.decode(codes)), codes)


def test_the_scale_of_int8_does_not_depend_on_the_blocks() -> None:
    sample = unit(50, 16)
    parts = learn("int8", (sample[at : at + 7] for at in range(0, 50, 7)), None, 1, 1)
    assert parts["scale"] == np.abs(sample).max() / 127
    assert learn("int8", [np.zeros((2, 3), np.float32)], None, 1, 1)["scale"] > 0


def test_product_quantisation_takes_the_nearest_word_of_each_part() -> None:
    quantiser = learnt("pq", unit(300, 8), 4)
    words, vectors = quantiser.learnt["words"], unit(20, 8, seed=2)
    assert words.shape == (4, 256, 2)
    codes = quantiser.encode(vectors)
    for vector, code in zip(vectors, codes, strict=True):
        for part in range(4):
            offsets = words[part] - vector[2 * part : 2 * part + 2]
            assert code[part] == np.argmin((offsets**2).sum(axis=1))
    expected = [np.concatenate([words[m, c] for m, c in enumerate(code)]) for code in codes]
    np.testing.assert_array_equal(quantiser.decode(codes), expected)


def test_more_words_are_never_farther_away_than_one_mean() -> None:
    sample = unit(600, 8)
    quantiser = learnt("pq", sample, 4)
    errors = ((quantiser.decode(quantiser.encode(sample)) - sample) ** 2).sum()
    assert errors < 0.25 * ((sample.mean(axis=0) - sample) ** 2).sum()


def test_signs_by_hand_and_their_distances() -> None:
    quantiser = Quantiser("binary", 8)
    codes = quantiser.encode(np.array([[1, -1, 0, 2, -3, 1, 1, 1], [1] * 8], np.float32))
    assert codes.tolist() == [[0b10010111], [0b11111111]]
    one, other = quantiser.decode(codes)
    assert np.linalg.norm(one) == pytest.approx(1)
    assert ((one - other) ** 2).sum() == pytest.approx(3 * 4 / 8)


def test_float16_rounds_and_float32_does_not() -> None:
    vectors = unit(5, 16)
    half, whole = (Quantiser(precision, 16) for precision in ("float16", "float32"))
    np.testing.assert_array_equal(half.encode(vectors), vectors.astype(np.float16))
    np.testing.assert_array_equal(half.decode(half.encode(vectors)), vectors.astype(np.float16))
    np.testing.assert_array_equal(whole.decode(whole.encode(vectors)), vectors)


def test_coded_rows_are_read_as_vectors() -> None:
    sample = unit(30, 16)
    quantiser = learnt("int8", sample)
    rows = Coded(quantiser.encode(sample), quantiser)
    assert rows.shape == (30, 16) and len(rows) == 30
    np.testing.assert_array_equal(rows[4:9], quantiser.decode(quantiser.encode(sample))[4:9])


@pytest.mark.parametrize("precision", ["int8", "pq", "binary"])
def test_coded_rows_of_a_file_are_read_by_block_by_number_and_without_some(
    tmp_path, precision: str
) -> None:
    sample = unit(300, 16)
    quantiser = learnt(precision, sample, 4)
    codes = quantiser.encode(sample)
    expected, some = quantiser.decode(codes), np.array([0, 3, 4, 250, 299])
    with h5py.File(tmp_path / "c.h5", "w") as file:
        plain = file.create_dataset("plain", data=codes)
        chunked = file.create_dataset("chunked", data=codes, chunks=(7, codes.shape[1]))
        for stored in (codes, plain, chunked):
            rows = Coded(stored, quantiser)
            np.testing.assert_array_equal(gather(rows, some), expected[some])
            np.testing.assert_array_equal(rows[7], expected[7])
            assert bytes_a_row(rows) == codes.shape[1] and rows.dtype == np.float32
            reader = Reader(rows, 64, excluded=some)
            found = np.concatenate([reader.block(start).copy() for start in reader.blocks()])
            np.testing.assert_array_equal(found, np.delete(expected, some, axis=0))
