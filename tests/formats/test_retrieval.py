"""Sets without positions: Oxford5k's and Paris6k's lists, INRIA Holidays' names."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vprlib.formats.dialects import read_specification
from vprlib.formats.parse import build_indices, listed_of
from vprlib.formats.specification import Layout
from vprlib.images.decode import ImageSettings
from vprlib.pipeline.params import UserError

LAYOUT = Layout(database_dir="images", queries_dir="images")
LISTS = {
    "hall_1": ("oxc1_hall_000 10.4 5.6 40 30.5", "hall_000 hall_002", "hall_001", "else_000"),
    "tower_1": ("tower_000 0 0 20 16", "tower_000", "", "tower_001 tower_000"),
}
IMAGES = ["else_000", "hall_000", "hall_001", "hall_002", "deep/tower_000", "tower_001"]
Written = Callable[..., Path]


@pytest.fixture
def written(tmp_path: Path) -> Written:
    """A folder with images and gt, in which some files have other content or are left out."""

    def make(without: str = "", **changes: str) -> Path:
        for i, name in enumerate(IMAGES):
            path = tmp_path / "images" / f"{name}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng(i).integers(0, 256, (48, 64, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(path)
        (tmp_path / "gt").mkdir()
        for landmark, texts in LISTS.items():
            for kind, text in zip(("query", "good", "ok", "junk"), texts, strict=True):
                name = f"{landmark}_{kind}"
                if name != without:
                    lines = changes.get(name, text).replace(" ", "\n" if kind != "query" else " ")
                    (tmp_path / f"gt/{name}.txt").write_text(f"{lines}\n")
        return tmp_path

    return make


def test_good_and_ok_are_right_and_junk_is_doubtful(written: Written) -> None:
    root = written()
    found = read_specification(root / "gt", root, LAYOUT)
    names = [f"{name}.jpg" for name in sorted(IMAGES)]
    assert found.database_names == names
    assert found.query_names == ["hall_000.jpg", "deep/tower_000.jpg"]
    listed = [[[names[r] for r in rows] for rows in kind]
              for kind in (found.listed.right, found.listed.doubtful)]  # fmt: skip
    assert listed == [
        [["hall_000.jpg", "hall_001.jpg", "hall_002.jpg"], ["deep/tower_000.jpg"]],
        [["else_000.jpg"], ["tower_001.jpg"]],  # what is right is not doubtful
    ]
    assert found.query_extra["box"].tolist() == [[10.4, 5.6, 40, 30.5], [0, 0, 20, 16]]
    assert np.isnan(found.database_positions).all()


def test_queries_are_seen_through_their_box_and_the_database_whole(written: Written) -> None:
    from vprlib.images.batches import ImageSource

    root = written()
    parsed = build_indices(
        "oxford",
        read_specification(root / "gt", root, LAYOUT),
        root,
        None,
        LAYOUT,
        root / "report.txt",
        1,
    )
    queries = ImageSource(parsed.queries, root, ImageSettings())
    database = ImageSource(parsed.database, root, ImageSettings())
    assert queries.sizes().tolist() == [[30, 24], [20, 16]]
    whole = database.pixels(parsed.database.names.index("images/hall_000.jpg"))
    np.testing.assert_array_equal(queries.pixels(0), whole[6:30, 10:40])
    assert whole.shape == (48, 64, 3)
    assert parsed.findings.queries_in_database == 2
    assert parsed.findings.out_of_step == 0


def test_images_that_are_listed_and_not_there_are_reported(written: Written) -> None:
    root = written(hall_1_ok="hall_001 hall_009", tower_1_query="tower_007 0 0 9 9")
    found = read_specification(root / "gt", root, LAYOUT)
    with pytest.raises(UserError, match="2 of 8 database images and 1 of 2 query images are miss"):
        build_indices("oxford", found, root, None, LAYOUT, root / "report.txt", 1)
    assert (root / "report.txt").read_text().split() == [
        "images/hall_009.jpg",
        "images/tower_007.jpg",
        "images/tower_007.jpg",
    ]


def test_a_box_outside_its_image_is_a_sentence(written: Written) -> None:
    root = written(hall_1_query="hall_000 70 5 90 30")
    found = read_specification(root / "gt", root, LAYOUT)
    with pytest.raises(UserError, match=r"box of the query images/hall_000.jpg is \[70.*64×48"):
        build_indices("oxford", found, root, None, LAYOUT, root / "report.txt", 1)


def test_lists_without_anything_right_are_a_sentence(written: Written) -> None:
    root = written(hall_1_good="", hall_1_ok="", tower_1_good="")
    found = read_specification(root / "gt", root, LAYOUT)
    assert listed_of(found).counts().tolist() == [0, 0]
    with pytest.raises(UserError, match="the lists of oxford name no right database image"):
        build_indices("oxford", found, root, None, LAYOUT, root / "report.txt", 1)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"without": "hall_1_ok"}, r"hall_1_ok\.txt is missing; hall_1_query"),
        ({"hall_1_query": "hall_000 1 2 3"}, "should hold an image name and a box .* '.* 1 2 3'"),
        ({"hall_1_query": "hall_000 1 2 three 4"}, "should hold an image name and a box"),
        ({"hall_1_query": "hall_000 9 2 3 4"}, "should hold an image name and a box"),
        ({"hall_1_query": "hall_000 0 0 nan 4"}, "should hold an image name and a box"),
        ({"hall_1_query": ""}, "should hold an image name and a box"),
    ],
)
def test_what_does_not_fit_is_a_sentence(
    written: Written, changes: dict[str, str], sentence: str
) -> None:
    root = written(**changes)
    with pytest.raises(UserError, match=sentence):
        read_specification(root / "gt", root, LAYOUT)


def test_two_images_of_one_name_are_a_sentence(written: Written) -> None:
    root = written()
    Image.new("RGB", (8, 8)).save(root / "images/deep/hall_001.png")
    with pytest.raises(UserError, match=r"holds both deep/hall_001\.png and hall_001\.jpg"):
        read_specification(root / "gt", root, LAYOUT)


def test_queries_in_another_folder_than_the_database_are_a_sentence(written: Written) -> None:
    root = written()
    with pytest.raises(UserError, match=r"layout\.queries_dir should be 'images'.* but is ''"):
        read_specification(root / "gt", root, Layout(database_dir="images"))


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


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("hall_1_query", "../../../secret 10 5 40 30"),
        ("hall_1_query", "/etc/passwd 10 5 40 30"),
        ("hall_1_good", "hall_000 ../../../secret"),
        ("hall_1_junk", "a\0b"),
    ],
)
def test_names_in_lists_stay_inside_the_set(written: Written, file: str, text: str) -> None:
    root = written(**{file: text})
    with pytest.raises(
        UserError, match=r"gt: the image name '.*' (leaves its folder|holds a char)"
    ):
        read_specification(root / "gt", root, LAYOUT)


@pytest.mark.parametrize("box", ["nan 0 9 9", "0 0 inf 9", "-1e308 0 1e308 9"])
def test_a_box_that_no_image_has_is_refused(written: Written, box: str) -> None:
    root = written(hall_1_query=f"hall_000 {box}")
    with pytest.raises(UserError, match=r"should hold an image name and a box"):
        read_specification(root / "gt", root, LAYOUT)


def test_a_deep_folder_that_is_linked_from_elsewhere_is_refused(written: Written) -> None:
    root = written()
    (root.parent / "secret").mkdir(exist_ok=True)
    (root / "images/deep/link").symlink_to(root.parent / "secret")
    with pytest.raises(UserError, match="'deep/link' is a link that leads out of"):
        read_specification(root / "gt", root, LAYOUT)


def test_a_folder_that_holds_itself_is_walked_once(written: Written) -> None:
    root = written()
    (root / "images/again").symlink_to(root / "images")
    assert len(read_specification(root / "gt", root, LAYOUT).database_names) == len(IMAGES)


def test_a_layout_stays_inside_the_set() -> None:
    with pytest.raises(ValueError, match="leaves its folder"):
        Layout(database_dir="../../../elsewhere")
