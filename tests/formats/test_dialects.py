"""Which dialect it is, is told by the file or folder itself; an unknown one says what it holds."""

from pathlib import Path

import numpy as np
import pytest
import scipy.io

from vprlib.formats.dialects import read_specification
from vprlib.pipeline.params import UserError


def test_a_missing_path_is_a_sentence(tmp_path: Path) -> None:
    for name in ("no.mat", "no.csv", "no"):
        with pytest.raises(UserError, match=rf"{name} is missing: put or link the specification"):
            read_specification(tmp_path / name)


def test_a_folder_of_photographs_says_what_it_holds_and_what_it_needs(tmp_path: Path) -> None:
    for name in ("b.jpg", "a.jpg", "list.txt", "README"):
        (tmp_path / name).touch()
    (tmp_path / "more").mkdir()
    with pytest.raises(UserError) as caught:
        read_specification(tmp_path)
    assert str(caught.value).startswith(
        f"{tmp_path} holds more/, 2 × .jpg, 1 × .txt, 1 × no suffix, images such as 'a.jpg', but"
    )
    assert "@utm_easting@" in str(caught.value) and "_query.txt" in str(caught.value)


def test_an_empty_folder_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds nothing, but a data set needs"):
        read_specification(tmp_path)


@pytest.mark.parametrize("value", [np.eye(3), "text", np.array([[1 + 2j]])])
def test_a_variable_of_another_kind_is_described(tmp_path: Path, value: object) -> None:
    scipy.io.savemat(tmp_path / "x.mat", {"dbStruct": value})
    with pytest.raises(UserError, match=r"or a cell array of dbImage, .* is an array of .* shape"):
        read_specification(tmp_path / "x.mat")
