"""The cache: arrays come back checked, a limit holds, and two experiments may share it."""

import errno
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import toy
from disks import raising

from vprlib.pipeline import cache as cache_module
from vprlib.pipeline.cache import Cache, cache_at, digest, entries, home
from vprlib.pipeline.paths import CACHE
from vprlib.pipeline.runtime import RuntimeSettings
from vprlib.train.cache import CacheFile, CacheSpec

SHAPES = np.array([[2, 3, 4], [1, 5, 4], [7, 1, 4]])
MakeCache = Callable[..., Cache]


def a_spec(key: str = "abc", shapes: np.ndarray = SHAPES, dtype: str = "<f4") -> CacheSpec:
    return CacheSpec(f"maps of {key}", key, shapes, np.dtype(dtype))


def array(row: int, dtype: str = "<f4") -> np.ndarray:
    return (np.random.default_rng(row).normal(size=SHAPES[row]) * 100).astype(dtype)


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def make(tmp_path: Path, told: list[str]) -> Callable[[int], Cache]:
    return lambda limit=2**30: Cache(tmp_path / "cache", limit, told.append)


@pytest.mark.parametrize("dtype", ["<f4", "<f2", "<u2", "u1"])
def test_what_was_put_comes_back(make: MakeCache, dtype: str) -> None:
    file = CacheFile.opened(make(), a_spec(dtype=dtype))
    assert [file.get(row) for row in range(3)] == [None] * 3
    for row in (2, 0):
        file.put(row, array(row, dtype))
    again = CacheFile.opened(make(), a_spec(dtype=dtype))
    for row in (0, 2):
        assert again.get(row).dtype == np.dtype(dtype)
        np.testing.assert_array_equal(again.get(row), array(row, dtype))
    assert again.get(1) is None


def test_a_damaged_array_counts_as_absent(make: MakeCache, tmp_path: Path) -> None:
    file = CacheFile.opened(make(), a_spec())
    for row in range(3):
        file.put(row, array(row))
    path = tmp_path / "cache" / "abc" / "values"
    content = bytearray(path.read_bytes())
    content[4 * 24 + 7] ^= 1  # in the second array
    path.write_bytes(content)
    found = CacheFile.opened(make(), a_spec())
    assert [found.get(row) is None for row in range(3)] == [False, True, False]


def test_the_size_is_said_before_the_first_write_and_only_then(
    make: MakeCache, told: list[str], tmp_path: Path
) -> None:
    shapes = np.full((10, 3), 64)
    CacheFile.opened(make(), a_spec(shapes=shapes))
    CacheFile.opened(make(), a_spec(shapes=shapes))
    assert told == [f"cache: maps of abc take 10.0 MiB in {tmp_path / 'cache' / 'abc'}"]
    assert (tmp_path / "cache" / "abc" / "values").stat().st_size == 10 * 64**3 * 4


def test_no_limit_means_no_cache(make: MakeCache, tmp_path: Path) -> None:
    assert CacheFile.opened(make(0), a_spec()) is None
    assert not (tmp_path / "cache").exists()


def test_what_would_not_fit_the_limit_is_said_and_left(
    make: MakeCache, told: list[str], tmp_path: Path
) -> None:
    CacheFile.opened(make(100), a_spec("small", SHAPES[:1])).close()
    told.clear()
    assert CacheFile.opened(make(100), a_spec()) is None
    assert "but runtime.cache_gib allows" in told[0] and "recomputed each time" in told[0]
    kept = {entry.name for entry in entries(tmp_path / "cache")}
    assert kept == {"small"}  # for what would not fit anyway, nothing has to go


def test_what_is_not_in_use_goes_first_where_the_limit_asks_for_it(
    make: MakeCache, told: list[str], tmp_path: Path
) -> None:
    size = a_spec().bytes
    for age, key in enumerate(["old", "used", "new"]):
        file = CacheFile.opened(make(), a_spec(key))
        if key != "used":
            file.close()
        os.utime(tmp_path / "cache" / key, (age, age))
    assert CacheFile.opened(make(3 * size), a_spec("next")) is not None
    assert {entry.name for entry in entries(tmp_path / "cache")} == {"used", "new", "next"}
    assert CacheFile.opened(make(2 * size), a_spec("more")) is None
    assert "what is in use takes" in told[-1]
    assert {entry.name for entry in entries(tmp_path / "cache")} == {"used", "next"}


def test_a_disk_that_is_too_full_is_said_and_left(
    make: MakeCache, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = cache_module.shutil.disk_usage
    monkeypatch.setattr(
        cache_module.shutil, "disk_usage", lambda path: usage(path)._replace(free=10)
    )
    assert CacheFile.opened(make(), a_spec()) is None
    assert "the disk has 0.0 MiB left" in told[0]


def test_a_disk_that_fills_up_meanwhile_is_said_and_nothing_is_left(
    make: MakeCache,
    told: list[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(os, "posix_fallocate", raising(errno.ENOSPC))
    assert CacheFile.opened(make(), a_spec()) is None
    assert "no space left on the disk" in told[-1]
    assert not (tmp_path / "cache" / "abc").exists()


FILLER = """
import sys, numpy as np
from pathlib import Path
from vprlib.pipeline.cache import Cache
from vprlib.train.cache import CacheFile, CacheSpec
shapes = np.full((200, 3), 16)
spec = CacheSpec("maps", "abc", shapes, np.dtype("<f4"))
file = CacheFile.opened(Cache(Path(sys.argv[1]), 2**30, print), spec)
for row in np.random.default_rng(int(sys.argv[2])).permutation(200).tolist():
    found = file.get(row)
    expected = np.random.default_rng(row).normal(size=(16, 16, 16)).astype("<f4")
    assert found is None or (found == expected).all()
    if found is None:
        file.put(row, expected)
"""


def test_several_processes_fill_one_entry_at_once(tmp_path: Path) -> None:
    arguments = [sys.executable, "-c", FILLER, str(tmp_path / "cache")]
    running = [subprocess.Popen([*arguments, str(seed)]) for seed in range(3)]
    assert [process.wait() for process in running] == [0, 0, 0]
    shapes = np.full((200, 3), 16)
    file = CacheFile.opened(Cache(tmp_path / "cache", 2**30, print), a_spec(shapes=shapes))
    for row in range(200):
        expected = np.random.default_rng(row).normal(size=(16, 16, 16)).astype("<f4")
        np.testing.assert_array_equal(file.get(row), expected)


def test_a_killed_writer_leaves_an_entry_that_can_be_used(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", FILLER, str(tmp_path / "cache"), "1"])
    while process.poll() is None and not entries(tmp_path / "cache"):
        time.sleep(0.005)
    process.kill()
    process.wait()
    arguments = [sys.executable, "-c", FILLER, str(tmp_path / "cache"), "2"]
    assert subprocess.run(arguments).returncode == 0


def test_a_queued_experiment_uses_the_store_of_the_project() -> None:
    folder = Path("artifacts/.cache")
    assert home(folder, Path("/a/project")) == folder
    assert home(folder, Path("/a/project/.dvc/tmp/exps/tmpx1")) == Path("/a/project") / folder
    chosen = cache_at(folder, RuntimeSettings(cache_dir="/fast/disk", cache_gib=2), print)
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
    assert (code, said) == (0, "artifacts/.cache holds nothing\n")
    kept = Cache(CACHE, 2**30, lambda sentence: None)
    CacheFile.opened(kept, a_spec("free")).close()
    used = CacheFile.opened(kept, a_spec("used"))
    code, said = vpr("cache", "list")
    assert code == 0 and "maps of free" in said and "maps of used" in said
    code, said = vpr("cache", "clear")
    assert "removed:" in said and "in use, kept:" in said
    assert [entry.name for entry in entries(CACHE)] == ["used"]
    used.close()
