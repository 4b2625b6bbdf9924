"""Codes: what they keep of a descriptor, the file they leave, and dimensions that are not there."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from vprlib.artifacts import write_hdf5
from vprlib.codes import Code, CodeSettings, check_dimensions, encode, read_code
from vprlib.params import UserError
from vprlib.runtime import RuntimeSettings
from vprlib.whitening import fit


def unit(count: int, dim: int, seed: int = 1) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture
def whitened(tmp_path: Path) -> Callable[..., Path]:
    """Writes a whitening as the stage does, of so many descriptors, keeping so many dimensions."""

    def make(sample: np.ndarray, dimensions: int = 4096) -> Path:
        path = tmp_path / "trained.h5"
        origin = {"set": "toy_train", "variant": "trained", "descriptors": len(sample)}
        fitted = fit(sample, dimensions, 2**20, 1)
        write_hdf5(path, vars(fitted), {**origin, "dimensions": dimensions})
        return path

    return make


@pytest.fixture
def sides(tmp_path: Path) -> dict[str, Path]:
    paths = {"database": tmp_path / "db.h5", "queries": tmp_path / "queries.h5"}
    for seed, (count, path) in enumerate(zip((30, 4), paths.values(), strict=True), 5):
        write_hdf5(path, {"descriptors": unit(count, 16, seed)})
    return paths


def test_a_whitening_is_read_as_it_was_written(whitened) -> None:
    sample = unit(50, 16)
    code = read_code("w16", CodeSettings(whiten=16), whitened(sample))
    fitted = fit(sample, 4096, 2**20, 1)
    for name, values in vars(fitted).items():
        np.testing.assert_array_equal(getattr(code.whitening, name), values)


def test_a_shorter_code_is_the_first_dimensions_of_a_longer_one_at_unit_length(whitened) -> None:
    path = whitened(unit(50, 16))
    long, short = (read_code("w", CodeSettings(whiten=d), path) for d in (12, 5))
    vectors = unit(20, 16, seed=2)
    first = long.apply(vectors)[:, :5]
    kept = short.apply(vectors)
    assert kept.shape == (20, 5)
    np.testing.assert_allclose(
        kept, first / np.linalg.norm(first, axis=1, keepdims=True), atol=1e-6
    )


def test_a_code_that_keeps_all_changes_nothing_and_opens_no_whitening(tmp_path) -> None:
    code = read_code("full", CodeSettings(whiten=None), tmp_path / "none.h5")
    vectors = unit(3, 16)
    assert code.keeps_all and code.apply(vectors) is vectors


def test_both_sides_are_encoded_at_unit_length(tmp_path, whitened, sides, runtime) -> None:
    code = read_code("w6", CodeSettings(whiten=6), whitened(unit(50, 16)))
    shapes = encode(tmp_path / "w6.h5", code, sides, runtime)
    assert shapes == {"database": (30, 6), "queries": (4, 6)}
    with h5py.File(tmp_path / "w6.h5") as file:
        for side, source in sides.items():
            with h5py.File(source) as stored:
                expected = code.apply(stored["descriptors"][:])
            np.testing.assert_allclose(file[side][:], expected, atol=1e-6)
            np.testing.assert_allclose(np.linalg.norm(file[side][:], axis=1), 1, atol=1e-6)


def test_small_blocks_encode_the_same(tmp_path, whitened, sides, runtime) -> None:
    code = read_code("w6", CodeSettings(whiten=6), whitened(unit(50, 16)))
    tight = RuntimeSettings(device="cpu", threads=1, memory_gib=1e-6)  # one row a block
    encode(tmp_path / "whole.h5", code, sides, runtime)
    encode(tmp_path / "rows.h5", code, sides, tight)
    with h5py.File(tmp_path / "whole.h5") as whole, h5py.File(tmp_path / "rows.h5") as rows:
        np.testing.assert_allclose(whole["database"][:], rows["database"][:], atol=1e-6)


def test_encoding_twice_gives_the_same_bytes(tmp_path, whitened, sides, runtime) -> None:
    code = read_code("w6", CodeSettings(whiten=6), whitened(unit(50, 16)))
    paths = [tmp_path / "first.h5", tmp_path / "second.h5"]
    for path in paths:
        encode(path, code, sides, runtime)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_a_code_that_keeps_all_leaves_a_marker_and_no_copy(tmp_path, sides, runtime) -> None:
    assert encode(tmp_path / "full.h5", Code(), sides, runtime) == {}
    with h5py.File(tmp_path / "full.h5") as file:
        assert not list(file)
    assert (tmp_path / "full.h5").stat().st_size < 2000


def test_descriptors_of_another_length_than_the_whitening_are_refused(
    tmp_path, whitened, sides, runtime
) -> None:
    code = read_code("w6", CodeSettings(whiten=6), whitened(unit(50, 12)))
    with pytest.raises(
        UserError, match=r"db\.h5 has descriptors of 16 dimensions, but .* fitted on 12: run"
    ):
        encode(tmp_path / "w6.h5", code, sides, runtime)
    assert not (tmp_path / "w6.h5").exists()


@pytest.mark.parametrize(
    ("sample", "dimensions", "sentence"),
    [
        (unit(10, 16), 4096, r"on 10 descriptors of 16 dimensions, which gives at most 9: lower"),
        (unit(90, 12), 4096, r"on 90 descriptors of 12 dimensions: .*, or take a network with"),
        (unit(90, 16), 7, r"keeps 7: lower code_defs\.w14\.whiten .*raise whitening\.dimensions"),
        (np.tile(unit(5, 16), (9, 1)), 4096, r"on 45 .* that differ in 4 directions alone: lower"),
    ],
)
def test_more_dimensions_than_there_are_is_one_sentence(
    whitened, sample, dimensions, sentence
) -> None:
    path = whitened(sample, dimensions)
    with pytest.raises(
        UserError, match=rf"^w14 wants 14 dimensions, but .*trained\.h5.*{sentence}"
    ):
        read_code("w14", CodeSettings(whiten=14), path)


def test_a_whitening_that_was_not_fitted_is_refused(tmp_path) -> None:
    (tmp_path / "trained.h5").touch()
    with pytest.raises(UserError, match=r"trained\.h5 is empty, but the code w8 whitens: name it"):
        read_code("w8", CodeSettings(whiten=8), tmp_path / "trained.h5")


DEFS = {"full": CodeSettings(), "w8": CodeSettings(whiten=8), "w900": CodeSettings(whiten=900)}


def test_codes_that_whitening_can_give_pass() -> None:
    check_dimensions(["full", "w8"], DEFS, dimensions=8, descriptors=9)


@pytest.mark.parametrize(
    ("dimensions", "descriptors", "sentence"),
    [
        (7, 100, r"code_defs\.w8\.whiten is 8, but whitening\.dimensions keeps 7 at most: lower"),
        (64, 8, r"code_defs\.w8\.whiten is 8, but the 8 of whitening\.descriptors give 7 at most"),
    ],
)
def test_a_code_in_use_that_whitening_cannot_give_is_refused(
    dimensions: int, descriptors: int, sentence: str
) -> None:
    with pytest.raises(UserError, match=f"^params.yaml: {sentence}"):
        check_dimensions(["full", "w8"], DEFS, dimensions, descriptors)
