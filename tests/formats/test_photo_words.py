"""The photographs of the visual words are chosen once, and anew only for a stated reason."""

from pathlib import Path

import pytest

from vprlib.formats.photo_words import HEADER, choose_words
from vprlib.pipeline.artifacts import write_csv


def names(*span: int) -> list[str]:
    return [f"walk/{n:04}, ü%.jpg" for n in range(*span)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "words.csv"


def chosen(path: Path, database: list[str], wanted: int = 20, seed: int = 1) -> tuple[list, str]:
    """As the stage does it: what was chosen is there next time."""
    found, reason = choose_words(path, database, wanted, seed)
    write_csv(path, HEADER, [(name, "database", "words") for name in found])
    return found, reason


def test_a_map_that_grows_and_shrinks_keeps_its_words(path: Path) -> None:
    first, reason = chosen(path, names(100))
    assert len(first) == len({*first}) == 20 and {*first} <= {*names(100)} and reason == ""
    assert chosen(path, names(1000)) == (first, "")
    assert chosen(path, [*names(1000)][::-1], seed=2) == (first, "")
    few = [name for name in names(100) if name not in first[:10]]
    assert chosen(path, few) == (first, "")


def test_another_map_gets_words_of_its_own(path: Path) -> None:
    first, _ = chosen(path, names(100))
    few = [name for name in names(100) if name not in first[:11]]
    other, reason = chosen(path, few)
    assert reason == "only 9 of the 20 photographs that they came from are left"
    assert {*other} <= {*few} and chosen(path, few) == (other, "")


def test_words_of_few_photographs_are_learnt_anew_when_there_are_twice_as_many(path: Path) -> None:
    first, _ = chosen(path, names(7))
    assert first == names(7)
    assert chosen(path, names(13)) == (first, "")
    more, reason = chosen(path, names(14))
    assert (more, reason) == (names(14), "there were 7 photographs")
    assert len(chosen(path, names(28))[0]) == 20
    assert chosen(path, names(2000))[1] == ""


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"name,role\na,b\n", b"path\n"])
def test_a_list_that_cannot_be_read_is_none(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert choose_words(path, names(5), 20, 1) == (names(5), "")
