"""Names from files and parameters never lead out of the folder that they belong to."""

import os
from pathlib import Path

import pytest

from vprlib.pipeline.inside import inside, problem_of
from vprlib.pipeline.params import UserError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A set with an image, a folder linked into it, and links that lead out."""
    for name in ("raw/set/a", "disk/b", "secret"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("raw/set/a/1.jpg", "disk/b/2.jpg", "secret/3.jpg"):
        (tmp_path / name).touch()
    (tmp_path / "raw/set/linked").symlink_to(tmp_path / "disk")
    (tmp_path / "raw/set/a/out.jpg").symlink_to(tmp_path / "secret/3.jpg")
    (tmp_path / "raw/set/a/out").symlink_to(tmp_path / "secret")
    (tmp_path / "raw/set/out.jpg").symlink_to(tmp_path / "secret/3.jpg")
    (tmp_path / "raw/set/a/in.jpg").symlink_to("1.jpg")
    (tmp_path / "raw/other").symlink_to(tmp_path / "raw/set")
    return tmp_path / "raw/set"


@pytest.mark.parametrize("name", ["a/1.jpg", "linked/b/2.jpg", "a/in.jpg", "absent.jpg", ""])
def test_what_stays_is_a_path(root: Path, name: str) -> None:
    assert inside(root, name, "x.csv") == root / name
    assert inside(root.with_name("other"), name, "x.csv") == root.with_name("other") / name


@pytest.mark.parametrize("name", ["a/out.jpg", "a/out/3.jpg", "out.jpg"])
def test_a_link_that_leads_out_is_refused(root: Path, name: str) -> None:
    with pytest.raises(UserError, match=f"x.csv: '{name}' is a link that leads out of"):
        inside(root, name, "x.csv")


@pytest.mark.parametrize("name", ["../b", "a/../../b", "/etc/passwd", "..", "a\\..\\..\\b", "\\b"])
def test_a_name_that_leads_out_is_refused(root: Path, name: str) -> None:
    with pytest.raises(UserError, match="leaves its folder: name a file inside it"):
        inside(root, name, "x.csv")


@pytest.mark.parametrize("name", ["a\0b", "a\nb", os.fsdecode(b"\xff.jpg"), "\x1b[31m"])
def test_a_name_that_tears_a_list_of_names_is_refused(name: str) -> None:
    assert problem_of(name) == "holds a character that cannot be printed: rename the file"


@pytest.mark.parametrize("name", ["Straße 1.jpg", "a%20b@1@.jpg", "é/😀.jpg", "a..b.jpg"])
def test_odd_names_are_names(name: str) -> None:
    assert problem_of(name) is None
