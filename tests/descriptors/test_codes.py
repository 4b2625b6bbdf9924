"""Codes: what they keep of a descriptor, the files they leave, and settings that cannot be."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from vectors import unit, whitened

from vprlib.descriptors.codes import CodeSettings, Kept, check_codes, encode, fit_code, read_code
from vprlib.descriptors.files import opened
from vprlib.descriptors.whitening import fit
from vprlib.pipeline.artifacts import write_hdf5
from vprlib.pipeline.params import UserError
from vprlib.pipeline.runtime import RuntimeSettings

PRECISIONS = [
    {"precision": "float16"},
    {"precision": "float16", "query": "coded"},
    {"precision": "int8"},
    {"precision": "int8", "query": "coded"},
    {"precision": "pq", "bytes": 4},
    {"precision": "pq", "bytes": 4, "query": "coded"},
    {"precision": "binary"},
    {"precision": "binary", "query": "coded"},
]


@pytest.fixture
def sides(tmp_path: Path) -> dict[str, Path]:
    paths = {"db": tmp_path / "db.h5", "queries": tmp_path / "queries.h5"}
    for seed, (count, path) in enumerate(zip((30, 5), paths.values(), strict=True), 5):
        write_hdf5(path, {"descriptors": unit(count, 16, seed)})
    return paths


def test_a_code_whitens_as_the_whitening_does(fitted) -> None:
    sample, vectors = unit(50, 16), unit(20, 16, seed=2)
    code = read_code(fitted(sample, whiten=12))
    expected = whitened(fit(sample, 12, 2**20, 1), vectors)
    np.testing.assert_allclose(code.apply(vectors), expected, atol=2e-6)
    assert code.apply(vectors).dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(code.apply(vectors), axis=1), 1, atol=1e-6)


def test_a_shorter_code_is_the_first_dimensions_of_a_longer_one_at_unit_length(fitted) -> None:
    long, short = (read_code(fitted(unit(50, 16), whiten=d)) for d in (12, 5))
    vectors = unit(20, 16, seed=2)
    first = long.apply(vectors)[:, :5]
    kept = short.apply(vectors)
    assert kept.shape == (20, 5)
    np.testing.assert_allclose(
        kept, first / np.linalg.norm(first, axis=1, keepdims=True), atol=1e-6
    )


def test_a_code_that_keeps_all_changes_nothing_and_needs_no_sample(tmp_path, runtime) -> None:
    fit_code(tmp_path / "full.h5", "full", Kept(), *[tmp_path / "none"] * 2, 1, runtime)
    code, vectors = read_code(tmp_path / "full.h5"), unit(3, 16)
    assert code.apply(vectors) is vectors


def test_both_sides_are_encoded_at_unit_length(tmp_path, fitted, sides, runtime) -> None:
    code = read_code(fitted(unit(50, 16), whiten=6))
    for (side, source), count in zip(sides.items(), (30, 5), strict=True):
        assert encode(tmp_path / "w6.h5", code, side, source, runtime) == (count, 24)
        with h5py.File(tmp_path / "w6.h5") as file, h5py.File(source) as stored:
            found, expected = file["descriptors"][:], code.apply(stored["descriptors"][:])
        np.testing.assert_allclose(found, expected, atol=1e-6)
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("settings", PRECISIONS)
def test_what_is_stored_is_as_many_bytes_as_is_said_and_reads_as_what_it_stands_for(
    tmp_path, fitted, sides, runtime, settings
) -> None:
    sample = unit(300, 16)
    code = read_code(fitted(sample, whiten=8, **settings))
    for side, source in sides.items():
        encode(tmp_path / "c.h5", code, side, source, runtime)
        with h5py.File(source) as stored:
            wanted = whitened(fit(sample, 8, 2**20, 1), stored["descriptors"][:])
        is_coded = side == "db" or "query" in settings
        with h5py.File(tmp_path / "c.h5") as file:
            stored = file["descriptors"]
            size = stored.dtype.itemsize * stored.shape[1]
            bytes_each = {"float16": 16, "int8": 8, "pq": settings.get("bytes"), "binary": 1}
            assert size == (bytes_each[settings["precision"]] if is_coded else 32)
            assert stored.id.get_storage_size() == size * len(wanted)
        with opened(tmp_path / "c.h5", len(wanted)) as read:
            assert read.shape == wanted.shape and len(read) == len(wanted)
            got = read[2:5]
        slack = {"float16": 1e-3, "int8": 0.01, "pq": 0.5, "binary": 0.7}[settings["precision"]]
        errors = np.abs(got - wanted[2:5])
        assert errors.max() <= (slack if is_coded else 1e-6)
        if settings["precision"] == "binary" and is_coded:
            np.testing.assert_array_equal(np.sign(got), np.sign(wanted[2:5]))


def test_whole_descriptors_as_int8_take_a_byte_a_dimension(
    tmp_path, fitted, sides, runtime
) -> None:
    code = read_code(fitted(unit(50, 16), whiten=None, precision="int8"))
    assert encode(tmp_path / "c.h5", code, "db", sides["db"], runtime) == (30, 16)


@pytest.mark.parametrize("settings", [{}, *PRECISIONS[::2]])
def test_small_blocks_encode_the_same(tmp_path, fitted, sides, runtime, settings) -> None:
    code = read_code(fitted(unit(300, 16), whiten=8, **settings))
    tight = RuntimeSettings(device="cpu", threads=1, memory_gib=1e-6)  # one row a block
    encode(tmp_path / "whole.h5", code, "db", sides["db"], runtime)
    encode(tmp_path / "rows.h5", code, "db", sides["db"], tight)
    with h5py.File(tmp_path / "whole.h5") as whole, h5py.File(tmp_path / "rows.h5") as rows:
        np.testing.assert_allclose(whole["descriptors"][:], rows["descriptors"][:], atol=1e-6)


@pytest.mark.parametrize("settings", [{}, *PRECISIONS])
def test_fitting_and_encoding_twice_give_the_same_bytes(
    tmp_path, fitted, sides, runtime, settings
) -> None:
    made = []
    for name in ("first", "second"):
        coder = fitted(unit(300, 16), name=name, whiten=8, **settings)
        encode(tmp_path / "c.h5", read_code(coder), "db", sides["db"], runtime)
        made.append((coder.read_bytes(), (tmp_path / "c.h5").read_bytes()))
    assert made[0] == made[1]


def test_a_matrix_of_int8_is_a_quarter_of_the_file_and_nearly_as_good(fitted) -> None:
    sample, vectors = unit(400, 256), unit(20, 256, seed=2)
    sizes, kept = [], []
    for numbers in ("float32", "float16", "int8"):
        coder = fitted(sample, whiten=128, matrix={"numbers": numbers})
        sizes.append(coder.stat().st_size)
        kept.append(read_code(coder).apply(vectors))
    assert sizes[1] < 0.6 * sizes[0] and sizes[2] < 0.35 * sizes[0]
    assert np.linalg.norm(kept[1] - kept[0], axis=1).max() < 2e-3
    assert np.linalg.norm(kept[2] - kept[0], axis=1).max() < 0.02


def test_a_matrix_of_lower_rank_needs_a_stretch_that_divides_the_dimensions(fitted) -> None:
    matrix = {"rank": 2, "of": 4}
    code = read_code(fitted(unit(50, 16), whiten=8, matrix=matrix))
    assert code.matrix.channels.shape == (2, 4) and code.matrix.projection.shape == (8, 8)
    assert code.matrix.width == 16 and code.apply(unit(3, 16)).shape == (3, 8)
    with pytest.raises(UserError, match=r"w\.keep\.matrix\.of is 5, but a descriptor has 16 dim"):
        fitted(unit(50, 16), whiten=8, matrix={"rank": 2, "of": 5})


def test_descriptors_of_another_length_than_the_whitening_are_refused(
    tmp_path, fitted, sides, runtime
) -> None:
    code = read_code(fitted(unit(50, 12), whiten=6))
    with pytest.raises(
        UserError, match=r"db\.h5 has descriptors of 16 dimensions, but .* fitted on 12: run"
    ):
        encode(tmp_path / "w6.h5", code, "db", sides["db"], runtime)
    assert not (tmp_path / "w6.h5").exists()


@pytest.mark.parametrize(
    ("sample", "dimensions", "sentence"),
    [
        (unit(10, 16), 4096, r"on 10 descriptors of 16 dimensions, which gives at most 9: lower"),
        (unit(90, 12), 4096, r"on 90 descriptors of 12 dimensions: .*, or take a network with"),
        (
            unit(90, 16),
            7,
            r"keeps 7: lower code_defs\.w14\.keep\.whiten .*raise whitening\.dimensions",
        ),
        (np.tile(unit(5, 16), (9, 1)), 4096, r"on 45 .* that differ in 4 directions alone: lower"),
    ],
)
def test_more_dimensions_than_there_are_is_one_sentence(
    tmp_path, fitted, sample, dimensions, sentence
) -> None:
    with pytest.raises(
        UserError, match=rf"^w14 wants 14 dimensions, but .*trained\.h5.*{sentence}"
    ):
        fitted(sample, dimensions, name="w14", whiten=14)
    assert not (tmp_path / "w14.h5").exists()


def test_product_quantisation_of_too_few_descriptors_is_refused(fitted) -> None:
    with pytest.raises(
        UserError, match="needs at least 256 descriptors to train on, but there are 255"
    ):
        fitted(unit(255, 16), whiten=8, precision="pq", bytes=4)


DEFS = {
    "full": CodeSettings(),
    "w8": CodeSettings(keep=Kept(whiten=8)),
    "w900": CodeSettings(keep=Kept(whiten=900)),
    "w8_pq4": CodeSettings(keep=Kept(whiten=8, precision="pq", bytes=4)),
}


def test_codes_that_whitening_can_give_pass() -> None:
    check_codes(["full", "w8"], DEFS, dimensions=8, descriptors=9)
    check_codes(["w8_pq4"], DEFS, dimensions=8, descriptors=256)


@pytest.mark.parametrize(
    ("dimensions", "descriptors", "sentence"),
    [
        (
            7,
            300,
            r"code_defs\.w8\.keep\.whiten is 8, but whitening\.dimensions keeps 7 at most: lower",
        ),
        (
            64,
            8,
            r"code_defs\.w8\.keep\.whiten is 8, but the 8 of whitening\.descriptors give 7 at most",
        ),
        (64, 255, r"code_defs\.w8_pq4 is pq, which learns 256 words, but .*descriptors is 255:"),
    ],
)
def test_a_code_in_use_that_cannot_be_is_refused(
    dimensions: int, descriptors: int, sentence: str
) -> None:
    with pytest.raises(UserError, match=f"^params.yaml: {sentence}"):
        check_codes(["full", "w8", "w8_pq4"], DEFS, dimensions, descriptors)
