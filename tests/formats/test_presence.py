"""Names against files: another suffix counts, everything else that is not there is missing."""

from pathlib import Path

import pytest

from vprlib.formats.presence import find_images, images_below


@pytest.mark.parametrize(
    ("asked", "there"),
    [
        ("a.jpg", "a.png"),
        ("a.png", "a.jpg"),
        ("x/b.c.jpg", "x/b.c.JPG"),
        ("a.JPG", "a.jpeg"),
        ("a.jpeg", "a.PNG"),
    ],
)
def test_a_file_under_another_suffix_is_the_one_that_is_meant(
    tmp_path: Path, asked: str, there: str
) -> None:
    (tmp_path / there).parent.mkdir(exist_ok=True)
    (tmp_path / there).touch()
    found = find_images([asked], tmp_path)
    assert (found.names, found.renamed, found.missing) == ([there], 1, [])


def test_the_very_name_comes_first(tmp_path: Path) -> None:
    for name in ("a.png", "a.jpg"):
        (tmp_path / name).touch()
    found = find_images(["a.png", "a.jpg"], tmp_path)
    assert (found.names, found.renamed) == (["a.png", "a.jpg"], 0)


def test_what_is_missing_keeps_its_name(tmp_path: Path) -> None:
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "a.txt").touch()
    (tmp_path / "b").touch()
    names = ["a.jpg", "folder.jpg", "b.jpg", "c.tif", "long" * 99 + ".jpg", ".jpg"]
    found = find_images(names, tmp_path)
    assert found.names == found.missing == names
    assert found.renamed == 0


def test_images_below_a_folder_are_found_through_links_and_sorted(tmp_path: Path) -> None:
    (tmp_path / "set/b").mkdir(parents=True)
    (tmp_path / "else").mkdir()
    for name in ("set/c.JPG", "set/b/a.png", "set/.hidden.jpg", "set/x.txt", "else/d.jpeg"):
        (tmp_path / name).touch()
    (tmp_path / "set/a").symlink_to(tmp_path / "else")
    found = [str(path.relative_to(tmp_path)) for path in images_below(tmp_path / "set")]
    assert found == ["set/a/d.jpeg", "set/b/a.png", "set/c.JPG"]
