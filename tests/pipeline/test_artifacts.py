"""Each file appears whole or not at all, with the same bytes for the same content."""

import errno
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from disks import raising
from safetensors import safe_open

from vprlib.pipeline.artifacts import (
    replacing,
    together,
    write_bytes,
    write_csv,
    write_folder,
    write_hdf5,
    write_json,
    write_tensors,
    write_text,
    writing_hdf5,
)
from vprlib.pipeline.params import UserError


def everything_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, RuntimeError])
def test_a_body_that_raises_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error, match="stop"), replacing(tmp_path / "out.bin") as partial:
        partial.write_bytes(b"half")
        raise error("stop")
    assert everything_below(tmp_path) == []


def test_the_target_appears_only_when_the_body_has_ended(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "out.bin"
    with replacing(target) as partial:
        partial.write_bytes(b"whole")
        assert not target.exists()
    assert target.read_bytes() == b"whole"
    assert everything_below(tmp_path) == ["deep", "deep/out.bin"]


def test_an_existing_target_survives_a_failed_write(tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    write_text(target, "old\n")
    with pytest.raises(ZeroDivisionError):
        write_csv(target, ["a"], ([1 // n] for n in (1, 0)))
    assert target.read_text() == "old\n"
    assert everything_below(tmp_path) == ["out.csv"]


def test_a_left_over_partial_file_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / ".out.bin.partial").write_bytes(b"a longer rest of an earlier run")
    write_bytes(tmp_path / "out.bin", b"new")
    assert everything_below(tmp_path) == ["out.bin"]
    assert (tmp_path / "out.bin").read_bytes() == b"new"


def test_a_folder_whose_body_raises_leaves_the_old_one(tmp_path: Path) -> None:
    write_folder(tmp_path / "set", [("a.txt", b"old")])
    with pytest.raises(ValueError, match="stop"), replacing(tmp_path / "set") as partial:
        partial.mkdir()
        (partial / "b.txt").write_bytes(b"half")
        raise ValueError("stop")
    assert everything_below(tmp_path) == ["set", "set/a.txt"]


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    first = write_folder(tmp_path / "set", [("x/a.txt", b"1"), ("b.txt", b"2")])
    second = write_folder(tmp_path / "set", [("c.txt", b"3")])
    assert everything_below(tmp_path) == ["set", "set/c.txt"]
    assert first != second == write_folder(tmp_path / "again", [("c.txt", b"3")])


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("where", ["pathlib.Path.write_bytes", "os.fsync", "pathlib.Path.replace"])
def test_a_full_disk_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, number: int
) -> None:
    target = tmp_path / "out.bin"
    write_bytes(target, b"old")
    monkeypatch.setattr(where, raising(number))
    with pytest.raises(UserError, match=r"out\.bin could not be written: no space left .*again\.$"):
        write_bytes(target, b"new")
    assert target.read_bytes() == b"old"
    assert everything_below(tmp_path) == ["out.bin"]


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EPERM])
@pytest.mark.parametrize("where", ["pathlib.Path.mkdir", "pathlib.Path.write_bytes"])
def test_a_place_that_cannot_be_written_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, number: int
) -> None:
    for failing in (where, "pathlib.Path.unlink"):
        monkeypatch.setattr(failing, raising(number))
    reason = os.strerror(number).lower()
    with pytest.raises(UserError, match=rf"written: {reason}; make its folder writable and run"):
        write_bytes(tmp_path / "out.bin", b"new")


def test_a_full_disk_below_a_folder_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "write_bytes", raising(errno.ENOSPC))
    with pytest.raises(UserError, match="set could not be written: no space left on the disk"):
        write_folder(tmp_path / "set", [("a.txt", b"1")])
    assert everything_below(tmp_path) == []


@pytest.mark.parametrize(
    "error",
    [
        OSError("Can't write data (errno = 28, error message = 'No space left on device')"),
        # what h5py raises when the last bytes are written at closing
        RuntimeError("Can't decrement id ref count (unable to extend file properly, errno = 28)"),
    ],
)
def test_a_full_disk_that_only_hdf5_saw_is_one_sentence(tmp_path: Path, error: Exception) -> None:
    with (
        pytest.raises(UserError, match="no space left on the disk"),
        writing_hdf5(tmp_path / "out.h5"),
    ):
        raise error
    assert everything_below(tmp_path) == []


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.EEXIST, errno.ENOENT])
def test_another_error_number_of_hdf5_is_not_taken_for_a_lack_of_rights(
    tmp_path: Path, number: int
) -> None:
    error = OSError(f"Unable to lock file, errno = {number}, error message = '...'")
    with pytest.raises(OSError, match="Unable to lock"), writing_hdf5(tmp_path / "out.h5"):
        raise error


def test_an_error_of_a_file_that_is_read_meanwhile_stays_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "input").mkdir()
    for read in (Path.read_bytes, h5py.File):
        with pytest.raises(FileNotFoundError), replacing(tmp_path / "out.bin"):
            read(tmp_path / "input.h5")
    with pytest.raises(IsADirectoryError), replacing(tmp_path / "out.bin"):
        (tmp_path / "input").read_bytes()


def stranger(folder: Path, kind: str) -> Path:
    """A place below `folder` that no file can be written to."""
    (folder / "file").write_text("kept")
    (folder / "lost").symlink_to("nowhere")
    (folder / "round").symlink_to("round")
    (folder / "full/of").mkdir(parents=True)
    os.mkfifo(folder / "pipe")
    return {
        "empty": Path(),
        "root": Path("/"),
        "dots": folder / "..",
        "folder": folder / "full",
        "below a file": folder / "file/out.csv",
        "far below a file": folder / "file/a/b/out.csv",
        "below a link that leads nowhere": folder / "lost/out.csv",
        "below a link to itself": folder / "round/out.csv",
        "long": folder / ("x" * 300),
        "below a long one": folder / ("x" * 300) / "out.csv",
        "null": folder / "a\0b",
        "pipe": folder / "pipe",
        "device": Path("/dev/vprlib-test"),  # not one that others need, should this fail
        "of the system": Path("/proc/out.csv"),
    }[kind]


@pytest.mark.parametrize("write", [write_text, lambda path, _: write_folder(path, [("a", b"1")])])
@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("empty", "it is a folder; name a file in it"),
        ("root", "it is a folder; name a file in it"),
        ("dots", "it is a folder; name a file in it"),
        ("folder", "it is a folder; name a file in it"),
        ("below a file", "there is a file where a folder is needed; name another"),
        ("far below a file", "there is a file where a folder is needed; name another"),
        ("below a link that leads nowhere", "there is a file where a folder is needed; name"),
        ("below a link to itself", "; name another"),
        ("long", "file name too long; name another file"),
        ("below a long one", "file name too long; name another file"),
        ("null", "its name has a character without a meaning; name another"),
        ("pipe", "it is a device or a pipe; name an ordinary file"),
        ("device", "it is a device or a pipe; name an ordinary file"),
        ("of the system", "; name another"),
    ],
)
def test_a_place_for_no_file_is_one_sentence_and_stays_as_it_is(
    tmp_path: Path, write: Callable[[Path, str], object], kind: str, reason: str
) -> None:
    path = stranger(tmp_path, kind)
    if kind == "folder" and write is not write_text:
        return  # a folder may replace a folder
    before = everything_below(tmp_path)
    with pytest.raises(UserError, match=rf"could not be written: .*{re.escape(reason)}"):
        write(path, "new")
    assert everything_below(tmp_path) == before
    assert (tmp_path / "file").read_text() == "kept"


def test_a_folder_does_not_replace_a_file(tmp_path: Path) -> None:
    write_text(tmp_path / "notes", "kept")
    with pytest.raises(
        UserError, match=r"notes could not be written: there is a file where a folder is needed"
    ):
        write_folder(tmp_path / "notes", [("a", b"1")])
    assert (tmp_path / "notes").read_text() == "kept"


def test_a_link_is_replaced_and_what_it_leads_to_is_left_alone(tmp_path: Path) -> None:
    write_text(tmp_path / "cache", "kept")
    for name, target in (("linked", "cache"), ("lost", "nowhere")):
        (tmp_path / name).symlink_to(target)
        write_text(tmp_path / name, "new")
        assert (tmp_path / name).read_text() == "new"
    assert (tmp_path / "cache").read_text() == "kept"


@pytest.mark.parametrize("number", [errno.EIO, errno.EFBIG, errno.EBUSY, errno.EMFILE])
def test_any_other_error_while_writing_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(Path, "write_bytes", raising(number))
    reason = os.strerror(number).lower()
    with pytest.raises(UserError, match=rf"out\.bin could not be written: {reason}; name another"):
        write_bytes(tmp_path / "out.bin", b"new")


def test_files_written_together_appear_together_or_not_at_all(tmp_path: Path) -> None:
    first, second = tmp_path / "flags.json", tmp_path / "network.pth"
    write_text(first, "old")
    second.mkdir()
    with pytest.raises(UserError, match=r"network\.pth could not be written"), together():
        write_text(first, "new")
        write_text(second, "new")
    assert everything_below(tmp_path) == ["flags.json", "network.pth"]
    assert first.read_text() == "old"
    second.rmdir()
    with together():
        write_text(first, "new")
        assert first.read_text() == "old"
        write_text(second, "new")
    assert everything_below(tmp_path) == ["flags.json", "network.pth"]
    assert first.read_text() == second.read_text() == "new"


def test_hdf5_reads_back_as_it_was_written(tmp_path: Path) -> None:
    numbers, names = np.arange(6.0).reshape(2, 3), ["a.jpg", "größe/ß.jpg", ""]
    labels = np.array(["day", "night"], dtype=object)
    arrays = {"numbers": numbers, "names": names, "none": [], "deep/labels": labels}
    write_hdf5(tmp_path / "x.h5", arrays, {"set": "city", "seed": 3, "rate": 0.5})
    with h5py.File(tmp_path / "x.h5") as file:
        assert file["numbers"].dtype == np.float64
        np.testing.assert_array_equal(file["numbers"][:], numbers)
        assert list(file["names"].asstr()[:]) == names
        assert file["deep/labels"].asstr()[:].tolist() == ["day", "night"]
        assert file["none"].shape == (0,)
        assert dict(file.attrs) == {"set": "city", "seed": 3, "rate": 0.5}


def test_tensors_read_back_as_they_were_written(tmp_path: Path) -> None:
    tensors = {"b": torch.arange(6).reshape(2, 3).T, "a": torch.tensor([0.5], requires_grad=True)}
    write_tensors(tmp_path / "x.safetensors", tensors, {"format": "test"})
    with safe_open(tmp_path / "x.safetensors", framework="pt") as file:
        assert file.metadata() == {"header": '{"format": "test"}'}
        assert all(torch.equal(file.get_tensor(name), tensors[name]) for name in tensors)


def test_same_content_gives_the_same_bytes_at_another_time(tmp_path: Path) -> None:
    def write_all(folder: Path) -> dict[str, bytes]:
        write_json(folder / "a.json", {"b": 1, "a": [0.1, None]})
        write_csv(folder / "a.csv", ["n", "r"], [(1, 0.1), ("x,y", "")])
        write_hdf5(folder / "a.h5", {"x": np.eye(3), "s": ["q"], "e/y": np.ones(2)}, {"k": 1})
        header = {"z": 1, "a": {"y": 2, "b": 3}}
        write_tensors(folder / "a.st", {"w": torch.ones(2), "b": torch.zeros(1)}, header)
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    first = write_all(tmp_path / "1")
    time.sleep(1.1)  # HDF5 counts time in seconds
    assert write_all(tmp_path / "2") == first
    assert first["a.csv"] == b'n,r\n1,0.1\n"x,y",\n'
    assert first["a.json"] == b'{\n  "b": 1,\n  "a": [\n    0.1,\n    null\n  ]\n}\n'


def test_json_refuses_what_is_no_number_and_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"recall": float("nan")})
    assert everything_below(tmp_path) == []
