"""Files of visual words: the original's and the port's, read and written."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io

from vprlib.interop.words import (
    Words,
    check_words,
    read_descriptors,
    read_words,
    write_mat_words,
    write_port_words,
)
from vprlib.pipeline.params import UserError


def words(clusters: int = 3, dim: int = 5, count: int = 8) -> Words:
    draw = np.random.default_rng(1)
    centroids, descriptors = draw.normal(size=(clusters, dim)), draw.normal(size=(count, dim))
    return Words(centroids.astype(np.float32), descriptors.astype(np.float32))


def test_the_originals_words_are_columns(tmp_path: Path) -> None:
    matrix = np.array([[1, 2], [3, 4], [5, 6]], np.float32)  # D K
    scipy.io.savemat(tmp_path / "w.mat", {"clsts": matrix})
    found = read_words(tmp_path / "w.mat")
    np.testing.assert_array_equal(found.centroids, [[1, 3, 5], [2, 4, 6]])
    assert found.descriptors is None and found.centroids.dtype == np.float32


def test_the_ports_words_are_rows_and_bring_descriptors(tmp_path: Path) -> None:
    given = words()
    with h5py.File(tmp_path / "w.hdf5", "w") as file:
        file["centroids"], file["descriptors"] = given.centroids, given.descriptors.astype("f8")
    found = read_words(tmp_path / "w.hdf5")
    np.testing.assert_array_equal(found.centroids, given.centroids)
    np.testing.assert_array_equal(found.descriptors, given.descriptors)
    np.testing.assert_array_equal(read_descriptors(tmp_path / "w.hdf5"), given.descriptors)


def test_the_real_centroids_have_the_norms_that_are_known(real_spec: Callable[[str], Path]) -> None:
    found = read_words(real_spec("pitts30k_train_vd16_conv5_3_preL2_k064_clst.mat"))
    norms = np.linalg.norm(found.centroids, axis=1)
    assert found.centroids.shape == (64, 512)
    assert (norms.min().round(2), norms.max().round(2)) == (0.82, 0.97)


def test_words_written_are_words_read_and_the_same_bytes(tmp_path: Path) -> None:
    given = words()
    for name in ("a", "b"):
        write_mat_words(tmp_path / f"{name}.mat", given.centroids)
        write_port_words(tmp_path / f"{name}.hdf5", given)
    for kind in ("mat", "hdf5"):
        assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()
        found = read_words(tmp_path / f"a.{kind}")
        assert found.centroids.tobytes() == given.centroids.tobytes()
    assert scipy.io.loadmat(tmp_path / "a.mat")["clsts"].shape == (5, 3)
    header = (tmp_path / "a.mat").read_bytes()[:116]
    assert header.rstrip() == b"MATLAB 5.0 MAT-file, vprlib, visual words"  # and no date


def test_the_ports_file_needs_descriptors(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"needs local descriptors as well.* --descriptors"):
        write_port_words(tmp_path / "w", Words(words().centroids))
    mixed = Words(words().centroids, words(dim=4).descriptors)
    with pytest.raises(UserError, match="words of 5 and descriptors of 4 dimensions do not fit"):
        write_port_words(tmp_path / "w", mixed)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("clusters", "dim", "problem"),
    [
        (64, 5, "w has 3 words, but kmeans.clusters is 64: set it to 3 in params.yaml"),
        (3, 256, "w has words of 5 dimensions, but the backbone's features have 256"),
    ],
)
def test_words_of_another_number_or_length_are_refused(
    clusters: int, dim: int, problem: str
) -> None:
    check_words(words(), 3, 5, Path("w"))
    with pytest.raises(UserError, match=problem):
        check_words(words(), clusters, dim, Path("w"))


@pytest.mark.parametrize(
    ("matrix", "problem"),
    [
        (np.array([[1.0, np.nan], [np.inf, 2.0]]), "2 of the 4 numbers of 'clsts' are not finite"),
        (np.ones((2, 2, 2)), r"should be a matrix of numbers, but is float64 with shape \(2, 2, 2"),
        (np.empty((0, 0)), r"should be a matrix of numbers, but is float64 with shape \(0, 0\)"),
        (np.array(["a", "b"]), "should be a matrix of numbers, but is <U1"),
    ],
)
def test_what_is_no_matrix_of_numbers_is_refused(
    tmp_path: Path, matrix: np.ndarray, problem: str
) -> None:
    scipy.io.savemat(tmp_path / "w.mat", {"clsts": matrix})
    with pytest.raises(UserError, match=problem):
        read_words(tmp_path / "w.mat")


def test_other_files_are_told(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "a.mat", {"dbStruct": 1})
    with pytest.raises(UserError, match=r"should hold visual words, .* but holds dbStruct"):
        read_words(tmp_path / "a.mat")
    (tmp_path / "b").write_text("hello")
    with pytest.raises(UserError, match=r"b should be a \.mat or HDF5 file of visual words"):
        read_words(tmp_path / "b")
    with pytest.raises(UserError, match=r"none cannot be read \(no such file or directory\)"):
        read_words(tmp_path / "none")
    write_port_words(tmp_path / "c", words())
    (tmp_path / "c").write_bytes((tmp_path / "c").read_bytes()[:300])
    with pytest.raises(UserError, match=r"c is damaged, or of .*\(.*\): fetch it again"):
        read_words(tmp_path / "c")
    with h5py.File(tmp_path / "d", "w") as file:
        file["centroids"] = words().centroids
    with pytest.raises(UserError, match="holds no 'descriptors', but centroids"):
        read_descriptors(tmp_path / "d")
