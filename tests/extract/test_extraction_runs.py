"""Extraction as a program: killed at random moments, in two processes, on a disk that is full."""

import errno
import os
import signal
import subprocess
import time

import numpy as np
import pytest
import torch
from disks import raising
from groups import worker_of

from benchmarks.extraction import LARGEST_SHARE, kill_often, wait_for_block
from benchmarks.project import drawn_model, drawn_source, ended, make_project
from vprlib.extract.extraction import ExtractionSettings, Work, extract
from vprlib.pipeline.params import UserError
from vprlib.pipeline.resume import Scratch

pytestmark = pytest.mark.slow

IMAGES = 1200


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    return make_project(folder, IMAGES, (96, 72), "alexnet", "conv5", 8)


@pytest.fixture(scope="module")
def whole(project):
    """The bytes of a run that nothing disturbs, and how long it took once it had begun."""
    process = project.start("whole")
    wait_for_block(project, process)
    begun = time.monotonic()
    ended(process)
    return project.output("whole").read_bytes(), time.monotonic() - begun


def test_ten_kills_leave_the_same_bytes(project, whole):
    assert kill_often(project, "killed", LARGEST_SHARE * whole[1]) >= 3
    assert project.output("killed").read_bytes() == whole[0]
    assert not list(project.scratch.glob("*"))


def test_two_processes_write_the_bytes_of_one_also_when_one_is_killed(project, whole):
    project.configure(processes=2)
    try:
        process = project.start("two")
        wait_for_block(project, process, 3)
        os.kill(worker_of(process.pid), signal.SIGKILL)
        said = ended(process, codes=[1])
        assert "was stopped by SIGKILL: run `dvc repro` again" in said and "Traceback" not in said
        assert "of them by an earlier run" in ended(project.start("two"))
    finally:
        project.configure()
    assert project.output("two").read_bytes() == whole[0]


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 320 KiB, where this machine lets us have one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", "size=320k", "tmpfs", str(disk)]
    try:
        if subprocess.run(mounting, capture_output=True).returncode:
            pytest.skip("only root may mount a small file system")
    except FileNotFoundError:
        pytest.skip("there is no mount on this machine")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_small_disk_is_said_at_once_or_when_it_is_full_and_loses_nothing(
    small_disk, tmp_path, runtime, cpu, monkeypatch
):
    source = drawn_source(tmp_path / "images", 40, 64, 48)
    model = drawn_model("alexnet", "conv5", 8)  # 40 descriptors of 8 KiB: exactly the disk
    work = Work(model, source, np.arange(40), ExtractionSettings(), tmp_path / "report.txt")
    seen = []
    model.register_forward_hook(lambda *call: seen.append(len(call[1][0])))
    monkeypatch.setattr("vprlib.images.batches.IMAGES_A_BATCH", 2)

    def run(folder, name):
        seen.clear()
        return extract(tmp_path / name, work, Scratch(folder), cpu, runtime)

    run(tmp_path / "scratch", "whole.h5")
    with pytest.raises(UserError, match=r"could not be written: no space left .* run again\.$"):
        run(small_disk / "scratch", "out.h5")
    assert not seen and not list(small_disk.rglob("*.h5"))
    with monkeypatch.context() as patch:
        # then space is taken as it is needed
        patch.setattr(os, "posix_fallocate", raising(errno.EOPNOTSUPP))
        with pytest.raises(UserError, match="no space left on the disk"):
            run(small_disk / "scratch", "out.h5")
    finished = sum(seen)
    subprocess.run(["mount", "-o", "remount,size=1m", str(small_disk)], check=True)
    outcome = run(small_disk / "scratch", "out.h5")
    assert 30 <= outcome.before < 40 and outcome.before <= finished
    assert (tmp_path / "out.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()


def test_threads_change_no_bit(tmp_path, cpu):
    from vprlib.model.precision import placed

    model = placed(drawn_model("vgg16", "conv5_3", 8), cpu)
    pixels = torch.randint(0, 256, (2, 96, 128, 3), dtype=torch.uint8)
    found = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        with torch.no_grad():
            found.append(model(pixels))
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])
