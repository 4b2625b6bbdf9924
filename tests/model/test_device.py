"""Each process of a group has a GPU of its own, and keeps the pages of what it freed."""

import subprocess
import sys

import pytest
import torch
from groups import join

from vprlib.model.device import prepare
from vprlib.pipeline.params import UserError
from vprlib.pipeline.runtime import RuntimeSettings


@pytest.fixture
def two_gpus(monkeypatch):
    """A machine that says so; gives the devices that were made the current one."""
    chosen = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    return chosen


@pytest.mark.parametrize("name", ["auto", "cuda"])
def test_each_process_of_a_machine_takes_the_gpu_of_its_number(monkeypatch, two_gpus, name):
    join(monkeypatch, rank=3, size=4, local_rank=1, local_size=2)
    device = prepare(RuntimeSettings(device=name, threads=1))
    assert device == torch.device("cuda:1") and two_gpus == [device]


def test_alone_on_its_machine_a_process_chooses_as_ever(monkeypatch, two_gpus):
    join(monkeypatch, rank=1, size=2, local_rank=0, local_size=1)
    assert prepare(RuntimeSettings(threads=1)) == torch.device("cuda") and two_gpus == []


def test_a_group_on_the_processor_needs_no_gpu(monkeypatch, two_gpus):
    join(monkeypatch)
    assert prepare(RuntimeSettings(device="cpu", threads=1)) == torch.device("cpu")


def test_more_processes_than_gpus_are_refused(monkeypatch, two_gpus):
    join(monkeypatch, local_size=4)
    with pytest.raises(UserError, match=r"runtime\.processes is 4, but this machine has 2 GPU"):
        prepare(RuntimeSettings(threads=1))


def test_one_gpu_named_for_several_processes_is_refused(monkeypatch, two_gpus):
    join(monkeypatch, local_size=2)
    with pytest.raises(UserError, match=r"runtime\.device is 'cuda:1', but the 2 processes"):
        prepare(RuntimeSettings(device="cuda:1", threads=1))


FAULTS = """
import resource, torch
from vprlib.model.device import prepare
from vprlib.pipeline.runtime import RuntimeSettings

prepare(RuntimeSettings(device="cpu", threads=1))
for _ in range(12):  # until the pieces fit
    torch.ones(2**24)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    torch.ones(2**24)  # 16,384 pages each
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc is Linux's")
def test_large_arrays_that_come_and_go_use_the_same_pages():
    said = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, check=True)
    assert int(said.stdout) < 4000
