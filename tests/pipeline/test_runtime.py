"""What a process knows of the group that it was started for, and what it may use."""

import os

import pytest
from groups import join

from vprlib.pipeline import progress
from vprlib.pipeline.params import UserError
from vprlib.pipeline.runtime import Member, RuntimeSettings, member


def test_a_process_of_a_group_knows_its_numbers(monkeypatch):
    join(monkeypatch, rank=3, size=6, local_rank=1, local_size=2)
    assert member() == Member(3, 6, 1, 2)


def test_a_process_without_a_rank_is_alone(monkeypatch):
    join(monkeypatch)
    monkeypatch.delenv("RANK")
    assert member() == Member(0, 1, 0, 1)


def test_a_launcher_need_not_say_how_many_processes_a_machine_has(monkeypatch):
    join(monkeypatch, rank=3, size=6)
    monkeypatch.delenv("LOCAL_RANK")
    monkeypatch.delenv("LOCAL_WORLD_SIZE")
    assert member() == Member(3, 6, 0, 1)


@pytest.mark.parametrize(("processes", "share"), [(1, 8), (3, 2), (8, 1), (16, 1)])
def test_cores_are_shared_out_to_the_processes_of_a_machine(monkeypatch, processes, share):
    join(monkeypatch, size=2 * processes, local_size=processes)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    assert RuntimeSettings().cores == share
    assert RuntimeSettings(threads=5).cores == 5


@pytest.mark.parametrize(("rank", "disable"), [(0, None), (1, True)])
def test_only_the_first_process_shows_a_bar(monkeypatch, rank, disable):
    join(monkeypatch, rank=rank)
    asked = {}
    monkeypatch.setattr(progress, "tqdm", lambda items, **options: asked.update(options) or items)
    assert list(progress.progress([7, 8], 2, "counting")) == [7, 8]
    assert asked["disable"] is disable


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("MASTER_PORT", port) for port in ("99999", "-1", "http", "", "9" * 5000)],
        *[("RANK", rank) for rank in ("2", "-1", "one", "1.0")],
        *[("WORLD_SIZE", size) for size in ("0", "-2", "x", "9" * 30)],
        *[("LOCAL_RANK", "x"), ("LOCAL_WORLD_SIZE", "0")],
    ],
)
def test_an_odd_number_of_a_launcher_is_one_sentence(monkeypatch, name, value):
    join(monkeypatch, rank=0, size=2, local_rank=0, local_size=2)
    monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=rf"^{name} is '.*' in the environment, but should be a"):
        member()


@pytest.mark.parametrize("device", ["meta", "hpu", "mps", "cuda:-1", "cuda:1000", "", "cpu\n"])
def test_a_device_that_cannot_be_used_is_refused(device):
    with pytest.raises(ValueError, match=r"is no device: use auto, cpu, cuda, or cuda:1"):
        RuntimeSettings(device=device)


@pytest.mark.parametrize("folder", ["", "a\0b", "a\nb", "x" * 2000])
def test_a_folder_of_the_cache_without_a_name_is_refused(folder):
    with pytest.raises(ValueError, match="cache_dir"):
        RuntimeSettings(cache_dir=folder)
