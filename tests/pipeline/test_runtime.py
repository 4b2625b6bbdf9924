"""What a process knows of the group that it was started for, and what it may use."""

import os

import pytest
from groups import join

from vprlib.pipeline import progress
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
