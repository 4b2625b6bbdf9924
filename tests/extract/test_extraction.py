"""Extraction: one file whatever happens on the way, and a list of what cannot be read."""

import errno
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from disks import raising
from PIL import Image

from vprlib.extract import unfinished
from vprlib.extract.extraction import ExtractionSettings, Outcome, Work, _see_the_same, extract, run
from vprlib.images.batches import ImageSource
from vprlib.model import precision
from vprlib.model.describe import describe_into
from vprlib.model.model import Architecture, PlaceModel
from vprlib.model.settings import PoolSettings
from vprlib.pipeline import artifacts
from vprlib.pipeline.group import Group
from vprlib.pipeline.params import UserError
from vprlib.pipeline.resume import Scratch

IMAGES = 12
BLOCKS = 7  # of at most two images here: nine are wide, three high


@pytest.fixture
def source(source_of: Callable[..., ImageSource], noise: Callable[..., np.ndarray]) -> ImageSource:
    shapes = [(64, 48), (48, 64), (64, 48), (64, 48)] * 3
    return source_of([noise(row, *shape) for row, shape in enumerate(shapes)])


class Counting(PlaceModel):
    """Counts the batches that it sees; told to, it stops before one of them."""

    seen = 0
    last: int | None = None

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        if self.seen == self.last:
            raise KeyboardInterrupt
        self.seen += 1
        return super().forward(pixels)


@pytest.fixture
def make(slim: str, source: ImageSource, tmp_path: Path, runtime, cpu, monkeypatch):
    """Runs one extraction; `network` says what it had to do."""
    monkeypatch.setattr("vprlib.images.batches.IMAGES_A_BATCH", 2)

    class Making:
        rows = np.arange(IMAGES)

        def work(self, last: int | None, **settings) -> Work:
            torch.manual_seed(1)
            self.network = Counting(Architecture(slim, "conv5", PoolSettings(version="v2"), 4))
            for parameter in self.network.parameters():
                torch.nn.init.normal_(parameter, std=0.3)
            self.network.last = last
            report = tmp_path / "reports/unreadable.txt"
            chosen = ExtractionSettings(**{"precision": "float32"} | settings)
            return Work(self.network, source, self.rows, chosen, report)

        def __call__(self, name: str, last: int | None = None, **settings) -> Outcome:
            kept = Scratch(tmp_path / "scratch")
            return extract(tmp_path / name, self.work(last, **settings), kept, cpu, runtime)

    return Making()


def stored(path: Path) -> tuple[np.ndarray, np.ndarray]:
    with h5py.File(path) as file:
        return file["descriptors"][:], file["failed"][:]


def rewritten(source: ImageSource, row: int) -> Callable[[], None]:
    """Puts another picture in the place of one; gives what puts it back."""
    path = source.folder / source.index.names[row]
    before = path.read_bytes()
    Image.new("RGB", (64, 48), "red").save(path)
    return lambda: path.write_bytes(before)


def test_a_file_holds_what_the_network_says_of_each_image(make, source, tmp_path, runtime, cpu):
    outcome = make("a.h5")
    assert (outcome.count, outcome.dim, outcome.before, outcome.failed) == (IMAGES, 32, 0, 0)
    assert outcome.sentence().startswith("12 descriptors of 32 dimensions in ")
    twin = np.zeros((IMAGES, 32), np.float32)
    describe_into(twin, make.network, source, np.arange(IMAGES), cpu, runtime)
    values, failed = stored(tmp_path / "a.h5")
    np.testing.assert_allclose(values, twin, atol=1e-6)
    assert not failed.any() and values.dtype == np.float32
    assert not (tmp_path / "scratch").exists()


def test_a_run_on_a_machine_that_computes_in_another_precision_begins_anew(
    make, tmp_path, runtime, monkeypatch
):
    """`auto` itself is written nowhere: what it means on this machine is."""

    def described(has_bfloat16: bool, last: int | None = None) -> Outcome:
        monkeypatch.setattr(precision, "has_bfloat16", lambda device: has_bfloat16)
        work = make.work(last, precision="auto")
        values, folder = {"precision": "auto"}, tmp_path / "scratch"
        files = (tmp_path / "index.h5", tmp_path / "network")
        for path in files:
            path.touch()
        here = runtime.model_copy(update={"cache_dir": str(tmp_path / "cache")})
        return run(tmp_path / "a.h5", work, folder, "extract", values, *files, here, print)

    for has_bfloat16, word in ((True, "bfloat16"), (False, "float32")):
        with pytest.raises(KeyboardInterrupt):
            described(has_bfloat16, last=4)
        with pytest.raises(KeyboardInterrupt):
            described(not has_bfloat16, last=0)
        assert len(list((tmp_path / "scratch").iterdir())) == 2
        outcome = described(has_bfloat16)
        assert 0 < outcome.before < IMAGES
        assert f"32 dimensions in {word}, " in outcome.sentence()
        with h5py.File(tmp_path / "a.h5") as file:
            assert file.attrs["precision"] == word
        shutil.rmtree(tmp_path / "scratch")
        shutil.rmtree(tmp_path / "cache")  # or else all is known already


def test_float16_is_float32_rounded(make, tmp_path):
    make("single.h5")
    make("half.h5", stored="float16")
    single, half = (stored(tmp_path / name)[0] for name in ("single.h5", "half.h5"))
    assert half.dtype == np.float16
    np.testing.assert_array_equal(half, single.astype(np.float16))


def test_some_rows_stand_in_their_order(make, tmp_path):
    make("all.h5")
    make.rows = np.array([1, 2, 6, 7, 11])
    make("some.h5")
    every, some = (stored(tmp_path / name)[0] for name in ("all.h5", "some.h5"))
    np.testing.assert_allclose(some, every[make.rows], atol=1e-6)


@pytest.mark.parametrize("last", range(BLOCKS + 1))
def test_a_run_that_was_stopped_goes_on_to_the_same_bytes(make, tmp_path, last):
    make("whole.h5")
    assert make.network.seen == BLOCKS
    if last < BLOCKS:
        with pytest.raises(KeyboardInterrupt):
            make("again.h5", last)
        assert not (tmp_path / "again.h5").exists()
    outcome = make("again.h5")
    assert make.network.seen == BLOCKS - last % BLOCKS
    assert (outcome.before == 0) == (last % BLOCKS == 0)
    assert ("by an earlier run" in outcome.sentence()) == bool(outcome.before)
    assert (tmp_path / "again.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()


@pytest.mark.parametrize("part", ["values", "mark", "flag"])
def test_a_block_that_is_not_whole_is_made_again(make, tmp_path, part):
    make("whole.h5")
    with pytest.raises(KeyboardInterrupt):
        make("again.h5", last=4)
    path = tmp_path / "scratch/descriptors.h5"
    values, flags = artifacts.places_in(path, ("descriptors", "failed"))
    if part == "mark":
        path, place = tmp_path / "scratch/marks", 4
    else:
        place = (values if part == "values" else flags).of(2)  # of the second block
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    make("again.h5")
    assert make.network.seen == BLOCKS - 4 + 1
    assert (tmp_path / "again.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()


def test_an_image_that_cannot_be_read_stops_with_a_list_of_all(make, source, tmp_path):
    make("whole.h5")
    put_back = [rewritten(source, row) for row in (6, 7, 9)]
    (source.folder / source.index.names[11]).unlink()
    with pytest.raises(UserError) as stop:
        make("again.h5")
    said = str(stop.value)
    assert f"4 of 12 images below {source.folder} are unreadable or changed" in said
    assert "006.jpg has other content" in said and "…; " in said and "009" in said
    assert (
        "`dvc repro -f -s parse_mat@set`" in said and "extraction.unreadable to leave_out" in said
    )
    listed = (tmp_path / "reports/unreadable.txt").read_text().splitlines()
    assert [line[:3] for line in listed] == ["006", "007", "009", "011"]
    assert listed[3] == "011.jpg is missing"
    for undo in put_back:
        undo()


def test_what_cannot_be_read_is_left_out_and_shifts_nothing(make, source, tmp_path):
    make("whole.h5")
    undo = rewritten(source, 2), rewritten(source, 7)
    outcome = make("holes.h5", unreadable="leave_out")
    assert outcome.failed == 2 and "2 images could not be read and have none" in outcome.sentence()
    assert len((tmp_path / "reports/unreadable.txt").read_text().splitlines()) == 2
    (whole, _), (values, failed) = (stored(tmp_path / n) for n in ("whole.h5", "holes.h5"))
    assert np.flatnonzero(failed).tolist() == [2, 7]
    np.testing.assert_array_equal(values, np.where(failed[:, None], 0, whole))
    for put_back in undo:
        put_back()
    make("whole_again.h5", unreadable="leave_out")
    assert (tmp_path / "whole_again.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()
    assert not (tmp_path / "reports/unreadable.txt").exists()


def test_an_image_that_is_put_back_is_tried_again_by_the_next_run(make, source, tmp_path):
    make("whole.h5")
    undo = rewritten(source, 0)
    with pytest.raises(KeyboardInterrupt):
        make("again.h5", last=4, unreadable="leave_out")
    undo()
    make("again.h5")
    assert make.network.seen == BLOCKS - 4 + 1
    assert (tmp_path / "again.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()


def test_a_disk_without_room_is_said_before_anything_is_described(make, tmp_path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(UserError, match="no space left"):
        patch.setattr(os, "posix_fallocate", raising(errno.ENOSPC))
        make("out.h5")
    assert make.network.seen == 0
    assert not (tmp_path / "scratch/descriptors.h5").exists() and not (tmp_path / "out.h5").exists()


def test_a_disk_that_fills_up_loses_no_finished_block(make, tmp_path, monkeypatch):
    make("whole.h5")
    real, calls = unfinished.write_at, []

    def filling(*arguments):
        calls.append(arguments)
        (raising(errno.ENOSPC) if len(calls) > 10 else real)(*arguments)

    with monkeypatch.context() as patch, pytest.raises(UserError, match="free some and run again"):
        patch.setattr(unfinished, "write_at", filling)
        make("again.h5")
    outcome = make("again.h5")
    assert outcome.before >= 4  # of two images a block, with three writes or more
    assert (tmp_path / "again.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()


def test_a_value_beyond_float16_is_said(make, monkeypatch):
    monkeypatch.setattr(PlaceModel, "forward", lambda self, pixels: torch.full((2, 32), 1e5))
    with pytest.raises(UserError, match=r"has the value 100000, too large .* extraction.stored to"):
        make("out.h5", stored="float16")


def test_a_target_on_another_disk_gets_a_copy(tmp_path, monkeypatch):
    source, target = tmp_path / "scratch", tmp_path / "deep/target"
    source.write_bytes(b"whole")
    real = Path.replace

    def within_a_folder(self, other):
        if self.parent != Path(other).parent:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        return real(self, other)

    monkeypatch.setattr(Path, "replace", within_a_folder)
    artifacts.publish(source, target)
    assert target.read_bytes() == b"whole"


@dataclass(frozen=True)
class Apart(Group):
    """Two processes, of which the other answers something else from some question on."""

    size: int = 2
    agreed: int = 0
    asked: tuple = ()

    def gather(self, own):
        object.__setattr__(self, "asked", (*self.asked, own))
        return [own, own if len(self.asked) <= self.agreed else "another"]


@pytest.mark.parametrize(
    ("agreed", "sentence"),
    [(0, "different images, networks, parameters"), (1, "not all machines see the same")],
)
def test_processes_that_cannot_write_one_file_are_refused(tmp_path, agreed, sentence):
    with pytest.raises(UserError, match=sentence):
        _see_the_same(tmp_path, replace(Apart(), agreed=agreed))
    _see_the_same(tmp_path, replace(Apart(), agreed=2))
