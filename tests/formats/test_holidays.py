"""INRIA Holidays: the name says place and query."""

from pathlib import Path

import numpy as np

from vprlib.formats.dialects import read_specification
from vprlib.formats.parse import listed_of
from vprlib.formats.specification import Layout


def test_queries_end_in_00_and_their_own_image_is_neither_right_nor_wrong(tmp_path: Path) -> None:
    for name in ("100000", "100001", "100002", "100100", "100101", "149901"):
        (tmp_path / f"{name}.jpg").touch()
    found = read_specification(tmp_path, tmp_path)
    assert found.database_names == [
        f"{name}.jpg" for name in (100000, 100001, 100002, 100100, 100101, 149901)
    ]
    assert found.query_names == ["100000.jpg", "100100.jpg"]
    rows = np.tile(np.arange(6), (2, 1))
    listed = listed_of(found)
    assert np.argwhere(listed.is_right(rows)).tolist() == [[0, 1], [0, 2], [1, 4]]
    assert np.argwhere(listed.is_doubtful(rows)).tolist() == [[0, 0], [1, 3]]


def test_names_start_from_the_layouts_folder(tmp_path: Path) -> None:
    (tmp_path / "jpg").mkdir()
    for name in ("100000", "100001"):
        (tmp_path / f"jpg/{name}.jpg").touch()
    layout = Layout(database_dir="jpg", queries_dir="jpg")
    found = read_specification(tmp_path / "jpg", tmp_path, layout)
    assert found.database_names == ["100000.jpg", "100001.jpg"]
    assert read_specification(tmp_path / "jpg", tmp_path).query_names == ["jpg/100000.jpg"]
