"""What was found in files that have not changed is not looked for again."""

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from vprlib.images import seen as seen_module
from vprlib.images.seen import FILE, remembering
from vprlib.pipeline.cache import Cache, entries


@dataclass(frozen=True)
class Fact:
    text: str
    number: float | None = None


class Folder:
    """Three files that were written long ago; counts which of them are opened."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.opened, self.limit = folder, [], 2**20
        self.paths = [folder / f"{name}.txt" for name in ("a", "ß %", "c")]
        for path in self.paths:
            self.write(path, path.stem)

    def write(self, path: Path, text: str) -> None:
        path.write_text(text)
        os.utime(path, (1e9, 1e9))

    def look(self, also: tuple[object, ...] = (), name: str = "set") -> list[Fact | str]:
        self.opened = []

        def open_file(row: int) -> Fact | str:
            self.opened.append(self.paths[row].stem)
            text = self.paths[row].read_text()
            return "is broken" if text == "broken" else Fact(text, 0.1)

        cache = Cache(self.folder / "cache", self.limit, print)
        with remembering(cache, "facts", name, Fact) as seen:
            return seen.look(self.paths, open_file, 2, "looking", also)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    monkeypatch.setattr(seen_module, "YOUNG_S", -60)  # ctime cannot be set
    return Folder(tmp_path)


def test_what_has_not_changed_is_not_opened_again(files: Folder) -> None:
    first = files.look()
    assert first == [Fact("a", 0.1), Fact("ß %", 0.1), Fact("c", 0.1)]
    assert sorted(files.opened) == ["a", "c", "ß %"]
    assert files.look() == first and files.opened == []


def test_a_file_of_the_same_size_and_time_with_other_content_is_opened(files: Folder) -> None:
    files.look()
    files.write(files.paths[2], "d")  # its time of change differs, which nobody can set back
    assert files.look()[2] == Fact("d", 0.1) and files.opened == ["c"]
    files.paths[2].rename(files.folder / "elsewhere")
    files.write(files.paths[2], "e")
    assert files.look()[2] == Fact("e", 0.1) and files.opened == ["c"]


def test_a_file_that_was_just_written_is_looked_at_again(
    files: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seen_module, "YOUNG_S", 60)
    files.look()
    files.look()
    assert len(files.opened) == 3


def test_problems_and_missing_files_are_looked_at_each_time(files: Folder) -> None:
    files.write(files.paths[0], "broken")
    assert files.look()[0] == "is broken"
    assert files.look()[0] == "is broken" and files.opened == ["a"]
    files.paths[0].unlink()
    with pytest.raises(FileNotFoundError):
        files.look()


def test_what_a_finding_also_depends_on_counts(files: Folder) -> None:
    boxes = ((1.0, 2.0), (1.0, 2.0), None)
    files.look(boxes)
    files.look(boxes)
    assert files.opened == []
    files.look(((1.0, 2.0), (1.0, 2.5), None))
    assert files.opened == ["ß %"]


def test_files_that_have_gone_are_forgotten_and_sets_are_kept_apart(files: Folder) -> None:
    files.look()
    paths, files.paths = files.paths, files.paths[:2]
    files.look()
    files.paths = paths
    files.look()
    assert files.opened == ["c"]
    files.look(name="other")
    assert len(files.opened) == 3
    assert len(entries(files.folder / "cache")) == 2


@pytest.mark.parametrize("content", [b"", b"{", b'{"a": [[1, 2], {}]}', b"[1]"])
def test_a_damaged_memory_is_none(files: Folder, content: bytes) -> None:
    first = files.look()
    (entry,) = entries(files.folder / "cache")
    (entry / FILE).write_bytes(content)
    assert files.look() == first and len(files.opened) == 3
    assert files.look() == first and files.opened == []


def test_without_a_cache_nothing_is_kept(files: Folder) -> None:
    files.limit = 0
    files.look()
    files.look()
    assert len(files.opened) == 3 and not (files.folder / "cache").exists()


def test_a_look_that_ends_in_an_error_leaves_the_memory_as_it_was(files: Folder) -> None:
    files.look()
    with pytest.raises(FileNotFoundError):
        files.paths.append(files.folder / "missing")
        files.look()
    files.paths.pop()
    files.look()
    assert files.opened == []
