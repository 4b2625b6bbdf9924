"""The store: arrays come back checked, a limit holds, and two experiments may share it."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import toy

from vprlib.pipeline.runtime import RuntimeSettings
from vprlib.train import cache as store_module
from vprlib.train.cache import Store, Wish, digest, entries, home, store_at

SHAPES = np.array([[2, 3, 4], [1, 5, 4], [7, 1, 4]])


def a_wish(key: str = "abc", shapes: np.ndarray = SHAPES, dtype: str = "<f4") -> Wish:
    return Wish(f"maps of {key}", key, shapes, np.dtype(dtype))


def array(row: int, dtype: str = "<f4") -> np.ndarray:
    return (np.random.default_rng(row).normal(size=SHAPES[row]) * 100).astype(dtype)


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def make(tmp_path: Path, told: list[str]) -> Callable[[int], Store]:
    return lambda limit=2**30: Store(tmp_path / "store", limit, told.append)


@pytest.mark.parametrize("dtype", ["<f4", "<f2", "<u2", "u1"])
def test_what_was_put_comes_back(make: Callable[..., Store], dtype: str) -> None:
    shelf = make().shelf(a_wish(dtype=dtype))
    assert [shelf.get(row) for row in range(3)] == [None] * 3
    for row in (2, 0):
        shelf.put(row, array(row, dtype))
    again = make().shelf(a_wish(dtype=dtype))
    for row in (0, 2):
        assert again.get(row).dtype == np.dtype(dtype)
        np.testing.assert_array_equal(again.get(row), array(row, dtype))
    assert again.get(1) is None


def test_a_damaged_array_counts_as_absent(make: Callable[..., Store], tmp_path: Path) -> None:
    shelf = make().shelf(a_wish())
    for row in range(3):
        shelf.put(row, array(row))
    path = tmp_path / "store" / "abc" / "values"
    content = bytearray(path.read_bytes())
    content[4 * 24 + 7] ^= 1  # in the second array
    path.write_bytes(content)
    found = make().shelf(a_wish())
    assert [found.get(row) is None for row in range(3)] == [False, True, False]


def test_the_size_is_said_before_the_first_write_and_only_then(
    make: Callable[..., Store], told: list[str], tmp_path: Path
) -> None:
    shapes = np.full((10, 3), 64)
    make().shelf(a_wish(shapes=shapes))
    make().shelf(a_wish(shapes=shapes))
    assert told == [f"store: maps of abc take 10.0 MiB in {tmp_path / 'store' / 'abc'}"]
    assert (tmp_path / "store" / "abc" / "values").stat().st_size == 10 * 64**3 * 4


def test_no_limit_means_no_store(make: Callable[..., Store], tmp_path: Path) -> None:
    assert make(0).shelf(a_wish()) is None
    assert not (tmp_path / "store").exists()


def test_what_would_not_fit_the_limit_is_said_and_left(
    make: Callable[..., Store], told: list[str], tmp_path: Path
) -> None:
    make(100).shelf(a_wish("small", SHAPES[:1])).close()
    told.clear()
    assert make(100).shelf(a_wish()) is None
    assert "but runtime.store_gib allows" in told[0] and "computed anew each time" in told[0]
    kept = {entry.name for entry in entries(tmp_path / "store")}
    assert kept == {"small"}  # for what would not fit anyway, nothing has to go


def test_what_is_not_in_use_goes_first_where_the_limit_asks_for_it(
    make: Callable[..., Store], told: list[str], tmp_path: Path
) -> None:
    size = a_wish().bytes
    for age, key in enumerate(["old", "used", "new"]):
        shelf = make().shelf(a_wish(key))
        if key != "used":
            shelf.close()
        os.utime(tmp_path / "store" / key, (age, age))
    assert make(3 * size).shelf(a_wish("next")) is not None
    assert {entry.name for entry in entries(tmp_path / "store")} == {"used", "new", "next"}
    assert make(2 * size).shelf(a_wish("more")) is None
    assert "what is in use takes" in told[-1]
    assert {entry.name for entry in entries(tmp_path / "store")} == {"used", "next"}


def test_a_disk_that_is_too_full_is_said_and_left(
    make: Callable[..., Store], told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = store_module.shutil.disk_usage
    monkeypatch.setattr(
        store_module.shutil, "disk_usage", lambda path: usage(path)._replace(free=10)
    )
    assert make().shelf(a_wish()) is None
    assert "the disk has 0.0 MiB left" in told[0]


def test_a_disk_that_fills_up_meanwhile_is_said_and_nothing_is_left(
    make: Callable[..., Store], told: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    assert make().shelf(a_wish()) is None
    assert "no space left on the disk" in told[-1]
    assert not (tmp_path / "store" / "abc").exists()


FILLER = """
import sys, numpy as np
from pathlib import Path
from vprlib.train.cache import Store, Wish
shapes = np.full((200, 3), 16)
shelf = Store(Path(sys.argv[1]), 2**30, print).shelf(Wish("maps", "abc", shapes, np.dtype("<f4")))
for row in np.random.default_rng(int(sys.argv[2])).permutation(200).tolist():
    found = shelf.get(row)
    expected = np.random.default_rng(row).normal(size=(16, 16, 16)).astype("<f4")
    assert found is None or (found == expected).all()
    if found is None:
        shelf.put(row, expected)
"""


def test_several_processes_fill_one_shelf_at_once(tmp_path: Path) -> None:
    arguments = [sys.executable, "-c", FILLER, str(tmp_path / "store")]
    running = [subprocess.Popen([*arguments, str(seed)]) for seed in range(3)]
    assert [process.wait() for process in running] == [0, 0, 0]
    shapes = np.full((200, 3), 16)
    shelf = Store(tmp_path / "store", 2**30, print).shelf(a_wish(shapes=shapes))
    for row in range(200):
        expected = np.random.default_rng(row).normal(size=(16, 16, 16)).astype("<f4")
        np.testing.assert_array_equal(shelf.get(row), expected)


def test_a_killed_writer_leaves_a_shelf_that_can_be_used(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", FILLER, str(tmp_path / "store"), "1"])
    while process.poll() is None and not entries(tmp_path / "store"):
        time.sleep(0.005)
    process.kill()
    process.wait()
    arguments = [sys.executable, "-c", FILLER, str(tmp_path / "store"), "2"]
    assert subprocess.run(arguments).returncode == 0


def test_a_queued_experiment_uses_the_store_of_the_project() -> None:
    folder = Path("artifacts/.store")
    assert home(folder, Path("/a/project")) == folder
    assert home(folder, Path("/a/project/.dvc/tmp/exps/tmpx1")) == Path("/a/project") / folder
    chosen = store_at(folder, RuntimeSettings(store_dir="/fast/disk", store_gib=2), print)
    assert (chosen.folder, chosen.limit_bytes) == (Path("/fast/disk"), 2 * 2**30)


def test_digests_tell_arrays_files_and_values_apart(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    (tmp_path / "b").write_text("y")
    parts = [
        ("a",), ("b",), (1, 2), ([1, 2],), (np.array([1, 2]),), (np.array([[1, 2]]),),
        (np.array([1.0, 2.0]),), (tmp_path / "a",), (tmp_path / "b",),
    ]  # fmt: skip
    assert len({digest(*part) for part in parts}) == len(parts)
    assert digest(np.array([1, 2]), "a") == digest(np.array([1, 2]), "a")


def test_the_command_lists_and_clears_what_is_not_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, vpr: Callable[..., tuple[int, str]]
) -> None:
    monkeypatch.chdir(tmp_path)
    toy.write_params(tmp_path, toy.params())
    code, said = vpr("cache", "list")
    assert (code, said) == (0, "artifacts/.store holds nothing\n")
    kept = Store(store_module.FOLDER, 2**30, lambda sentence: None)
    kept.shelf(a_wish("free")).close()
    used = kept.shelf(a_wish("used"))
    code, said = vpr("cache", "list")
    assert code == 0 and "maps of free" in said and "maps of used" in said
    code, said = vpr("cache", "clear")
    assert "removed:" in said and "in use, kept:" in said
    assert [entry.name for entry in entries(store_module.FOLDER)] == ["used"]
    used.close()
