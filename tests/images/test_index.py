"""The index of a side: every image opened, and read back as it was written."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image
from vectors import pairs

from vprlib.images.index import (
    SIGNATURE,
    ImageIndex,
    build_index,
    check_order,
    read_index,
    signature,
    write_index,
)
from vprlib.pipeline.params import UserError
from vprlib.places.truth import Listed, Radii, listed_arrays, read_listed, read_radii, read_truth

MakeIndex = Callable[..., ImageIndex]
EXTRA = {
    "time": np.array([1.5, 2.0]),
    "heading": np.array([0.0, 359.9]),
    "light": np.array(["day", "größer"], dtype=object),
}


def photograph(path: Path, width: int, height: int, orientation: int = 1) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (width, height), (width, height, 7)).save(path, exif=exif)


def test_an_index_reads_back_as_it_was_written(tmp_path: Path, index_at: MakeIndex) -> None:
    index = index_at([[585_000.123456789, 4_477_000.2], [1 / 3, -2.0]], EXTRA)
    index = replace(index, names=["x/ä b.jpg", "-.jpg"], is_rotated=np.array([True, False]))
    write_index(tmp_path / "a.h5", index)
    found = read_index(tmp_path / "a.h5")
    for name, value in vars(index).items():
        if name != "extra":
            np.testing.assert_array_equal(vars(found)[name], value, err_msg=name)
    assert found.positions.dtype == np.float64
    assert {name: v.tolist() for name, v in found.extra.items()} == {
        name: v.tolist() for name, v in EXTRA.items()
    }


def test_an_empty_index_reads_back(tmp_path: Path, index_at: MakeIndex) -> None:
    write_index(tmp_path / "a.h5", index_at([]))
    found = read_index(tmp_path / "a.h5")
    assert len(found) == 0
    assert found.positions.shape == (0, 2)


def test_same_index_gives_the_same_bytes(tmp_path: Path, index_at: MakeIndex) -> None:
    for name in ("a.h5", "b.h5"):
        write_index(tmp_path / name, index_at([[1, 2], [3, 4]], EXTRA), {"positive_radius_m": 25})
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_radii_stand_beside_the_queries(tmp_path: Path, index_at: MakeIndex) -> None:
    radii = {"positive_radius_m": 25.0, "training_radius_m": 10.5}
    write_index(tmp_path / "a.h5", index_at([[1, 2]]), radii)
    assert read_radii(tmp_path / "a.h5") == Radii(25.0, 10.5)


@pytest.mark.parametrize("workers", [1, 3])
def test_every_image_is_opened_in_the_order_of_the_names(tmp_path: Path, workers: int) -> None:
    photograph(tmp_path / "a.jpg", 30, 20)
    photograph(tmp_path / "b.jpg", 16, 24, orientation=6)
    index = build_index("s", ["b.jpg", "a.jpg"], np.ones((2, 2)), tmp_path, {}, workers)
    assert index.names == ["b.jpg", "a.jpg"]
    assert (index.widths.tolist(), index.heights.tolist()) == ([16, 30], [24, 20])
    assert index.is_rotated.tolist() == [True, False]
    assert index.byte_sizes.tolist() == [(tmp_path / n).stat().st_size for n in index.names]


def test_changed_content_changes_the_digest(tmp_path: Path) -> None:
    photograph(tmp_path / "a.jpg", 30, 20)
    before, again = (build_index("s", ["a.jpg"], np.ones((1, 2)), tmp_path, {}, 1) for _ in "ab")
    Image.new("RGB", (30, 20), "red").save(tmp_path / "a.jpg")
    after = build_index("s", ["a.jpg"], np.ones((1, 2)), tmp_path, {}, 1)
    assert before.digests.tolist() == again.digests.tolist() != after.digests.tolist()


def test_damaged_images_are_counted_and_named_with_their_reasons(tmp_path: Path) -> None:
    photograph(tmp_path / "a.jpg", 300, 200)
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:900])
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("not found")
    names = ["a.jpg", "cut.jpg", "empty.jpg", "text.jpg"]
    with pytest.raises(UserError) as caught:
        build_index("s", names, np.ones((4, 2)), tmp_path, {}, 2)
    sentence = str(caught.value)
    assert sentence.startswith(f"3 of 4 images below {tmp_path} cannot be used: cut.jpg is trunc")
    assert "empty.jpg is empty (zero bytes); text.jpg is not an image that can be" in sentence


def test_lists_stand_beside_the_queries_and_are_the_truth(
    tmp_path: Path, index_at: MakeIndex
) -> None:
    queries, database = index_at(np.full((2, 2), np.nan)), index_at(np.full((4, 2), np.nan))
    right, doubtful = pairs([1, 3], []), pairs([0], [2])
    radii = {"positive_radius_m": 25.0, "training_radius_m": 10.0}
    lists = listed_arrays(Listed(right, doubtful, right, 4))
    write_index(tmp_path / "q.h5", queries, radii, lists)
    found = read_truth(tmp_path / "q.h5", queries, database, 99.0)
    rows = np.tile(np.arange(4), (2, 1))
    assert found.radius_m is None and found.database_size == 4
    assert np.argwhere(found.is_right(rows)).tolist() == [[0, 1], [0, 3]]
    assert np.argwhere(found.is_doubtful(rows)).tolist() == [[0, 0], [1, 2]]


def test_without_lists_positions_are_the_truth(tmp_path: Path, index_at: MakeIndex) -> None:
    queries, database = index_at([[0, 0]]), index_at([[3, 4], [6, 8]])
    write_index(tmp_path / "q.h5", queries, {"positive_radius_m": 5.0, "training_radius_m": 1.0})
    assert read_listed(tmp_path / "q.h5", 2) is None
    assert read_truth(tmp_path / "q.h5", queries, database, None).counts().tolist() == [1]
    assert read_truth(tmp_path / "q.h5", queries, database, 10.0).counts().tolist() == [2]


def test_a_box_is_part_of_what_parsing_saw(tmp_path: Path, index_at: MakeIndex) -> None:
    boxes = np.array([[0.5, 1, 9, 8], [2, 2, 5.25, 6]])
    write_index(tmp_path / "a.h5", index_at([[1, 2], [3, 4]], {"box": boxes}))
    assert read_index(tmp_path / "a.h5").info(1).box == (2, 2, 5.25, 6)
    assert index_at([[1, 2]]).info(0).box is None


def test_some_images_of_an_index_keep_all_that_is_known_of_them(index_at: MakeIndex) -> None:
    index = index_at([[0, 0], [1, 0], [2, 0]], {"time": np.array([5.0, 6.0, 7.0])})
    taken = index.take(np.array([2, 0]))
    assert taken.names == [index.names[2], index.names[0]]
    assert taken.positions[:, 0].tolist() == [2, 0]
    assert [taken.info(row) for row in (0, 1)] == [index.info(2), index.info(0)]
    assert taken.extra["time"].tolist() == [7, 5]


@pytest.fixture
def described(index_at, tmp_path):
    index = index_at(np.zeros((5, 2)))
    with h5py.File(tmp_path / "db.h5", "w") as file:
        file.attrs[SIGNATURE] = signature(index)
    return tmp_path / "db.h5", index


def test_the_same_images_pass(described):
    check_order(*described)


@pytest.mark.parametrize(
    "change",
    [
        lambda index: index.take(np.array([1, 0, 2, 3, 4])),
        lambda index: index.take(np.arange(4)),
        lambda index: replace(index, digests=index.digests + 1),
        lambda index: replace(index, names=[f"x{name}" for name in index.names]),
    ],
)
def test_other_images_or_another_order_are_refused(described, change):
    path, index = described
    with pytest.raises(UserError, match="or in another order: run `dvc repro`"):
        check_order(path, change(index))


def test_positions_are_no_part_of_it(described):
    path, index = described
    check_order(path, replace(index, positions=index.positions + 1))


def test_a_file_that_does_not_say_is_let_through(tmp_path, described):
    h5py.File(tmp_path / "old.h5", "w").close()
    check_order(tmp_path / "old.h5", described[1])
