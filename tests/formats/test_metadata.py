"""The optional CSV beside a specification."""

from pathlib import Path

import numpy as np
import pytest

from vprlib.formats.listing import read_metadata
from vprlib.pipeline.params import UserError

TEXT = "image,heading,light\nb.jpg,90.5,night\na.jpg,0,day\n"


def written(folder: Path, text: str) -> Path:
    (folder / "set.csv").write_text(text, encoding="utf-8")
    return folder / "set.csv"


def test_values_come_in_the_order_of_the_names(tmp_path: Path) -> None:
    found = read_metadata(written(tmp_path, TEXT), ["a.jpg", "b.jpg", "a.jpg"])
    assert found["heading"].tolist() == [0.0, 90.5, 0.0]
    assert found["heading"].dtype == np.float64
    assert found["light"].tolist() == ["day", "night", "day"]


def test_no_file_is_no_metadata(tmp_path: Path) -> None:
    assert read_metadata(tmp_path / "set.csv", ["a.jpg"]) == {}


def test_one_column_is_enough(tmp_path: Path) -> None:
    found = read_metadata(written(tmp_path, "light,image\nday,a.jpg\n"), ["a.jpg"])
    assert {name: values.tolist() for name, values in found.items()} == {"light": ["day"]}


@pytest.mark.parametrize("text", ["", "image,heading\n", "image\na.jpg\n", "name,light\na,day\n"])
def test_a_file_without_the_columns_is_a_sentence(tmp_path: Path, text: str) -> None:
    with pytest.raises(UserError, match="should be a CSV with the columns image, heading, light"):
        read_metadata(written(tmp_path, text), ["a.jpg"])


def test_images_without_a_row_are_counted_and_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no row for 2 images, such as 'x\.jpg'"):
        read_metadata(written(tmp_path, TEXT), ["a.jpg", "x.jpg", "y.jpg"])


@pytest.mark.parametrize("row", ["a.jpg,north,day", "a.jpg,,day"])
def test_a_heading_that_is_no_number_is_a_sentence(tmp_path: Path, row: str) -> None:
    with pytest.raises(UserError, match=r"row 2 (has heading 'north', |lacks a heading)"):
        read_metadata(written(tmp_path, f"image,heading,light\n{row}\n"), ["a.jpg"])


@pytest.mark.parametrize("row", ["a.jpg", "a.jpg,90"])
def test_a_row_that_is_too_short_is_a_sentence(tmp_path: Path, row: str) -> None:
    with pytest.raises(UserError, match=r"set\.csv"):
        read_metadata(written(tmp_path, f"image,heading,light\n{row}\n"), ["a.jpg"])


def test_a_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    found = read_metadata(written(tmp_path, "\ufeff" + TEXT), ["a.jpg"])
    assert found["light"].tolist() == ["day"]


def test_a_file_that_is_not_utf_8_is_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "set.csv"
    path.write_bytes("image,light\nstraße.jpg,day\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"set\.csv"):
        read_metadata(path, ["straße.jpg"])
