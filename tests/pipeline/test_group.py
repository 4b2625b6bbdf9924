"""What several processes do together equals what one does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from groups import free_port

from vprlib.pipeline.group import ALONE, Group, joined
from vprlib.pipeline.runtime import RuntimeSettings

ROOT = Path(__file__).parents[2]
SIZE = 2
# the second leaves without a word at the end
TOGETHER = """
import json, os
import numpy as np, torch
import vprlib.pipeline.group
from vprlib.pipeline.group import joined
from vprlib.pipeline.params import UserError
from vprlib.model.device import prepare
from vprlib.pipeline.runtime import RuntimeSettings

vprlib.pipeline.group.LOST_S = 0
with joined(prepare(RuntimeSettings(device="cpu"))) as group:
    rows, one = np.arange(10.0).reshape(5, 2), np.arange(1)
    sums = [torch.full((2, 3), group.rank + 0.5), torch.tensor(7 ** group.rank)]
    sums += [torch.tensor([[1.0], [2.0]]).expand(2, 2)[:, 0]]
    group.add(sums)
    firsts = [torch.arange(3) + group.rank, torch.full((2,), 1.0 - group.rank), torch.zeros(0)]
    group.same(firsts)
    own = [torch.full((2, 1), group.rank), torch.full((2,), 0.5), torch.arange(3) + group.rank]
    everyones = group.gather_tensors(own)
    found = {
        "group": [group.rank, group.size, group.is_first],
        "gathered": group.gather({"rank": group.rank}),
        "rows": group.interleave(rows[group.share]).tolist(),
        "one": group.interleave(one[group.share]).tolist(),
        "names": group.interleave(list("abcde")[group.share]),
        "sums": [t.tolist() for t in sums],
        "everyones": [[t.tolist() for t in tensors] for tensors in everyones],
        "firsts": [t.tolist() for t in firsts],
        "threads": torch.get_num_threads(),
    }
    group.wait()
    if group.rank == 1:
        os._exit(0)
    try:
        group.wait()
    except UserError as error:
        found["lost"] = str(error)
    print(json.dumps(found), flush=True)
    os._exit(0)
"""


@pytest.fixture(scope="module")
def found():
    """What the first of two processes has seen."""
    numbers = {"WORLD_SIZE": SIZE, "LOCAL_WORLD_SIZE": SIZE}
    numbers |= {"MASTER_ADDR": "localhost", "MASTER_PORT": free_port(), "PYTHONPATH": ROOT}
    started = []
    for rank in range(SIZE):
        names = {k: str(v) for k, v in {**numbers, "RANK": rank, "LOCAL_RANK": rank}.items()}
        command = [sys.executable, "-c", TOGETHER]
        started.append(subprocess.Popen(command, stdout=-1, text=True, env=os.environ | names))
    said = [process.communicate(timeout=120)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0]
    return json.loads(said[0])


def test_the_group_is_the_one_that_was_started(found):
    assert found["group"] == [0, 2, True]


def test_everyone_hears_everyones_object_by_rank(found):
    assert found["gathered"] == [{"rank": 0}, {"rank": 1}]


def test_shares_come_together_in_the_order_of_the_whole(found):
    assert found["rows"] == np.arange(10.0).reshape(5, 2).tolist()
    assert found["names"] == list("abcde")


def test_a_share_may_be_empty(found):
    assert found["one"] == [0]


def test_tensors_of_several_kinds_are_summed(found):
    assert found["sums"] == [[[2.0] * 3] * 2, 8, [2.0, 4.0]]


def test_tensors_become_those_of_the_first(found):
    assert found["firsts"] == [[0, 1, 2], [1.0, 1.0], []]


def test_everyones_tensors_of_several_kinds_come_by_rank(found):
    first, second = found["everyones"]
    assert first == [[[0], [0]], [0.5, 0.5], [0, 1, 2]]
    assert second == [[[1], [1]], [0.5, 0.5], [1, 2, 3]]


def test_threads_are_shared_out(found):
    cores = RuntimeSettings().cores
    assert found["threads"] == max(1, cores // SIZE)


def test_a_process_that_is_gone_is_said_in_one_sentence(found):
    assert found["lost"].startswith("process 1 of 2 of the group lost the others (")
    assert "pair.cc" not in found["lost"] and "\n" not in found["lost"]


class Told(Group):
    """A group whose other members are lists in this process."""

    def gather(self, own):
        return [list(range(11))[rank :: self.size] for rank in range(self.size)]


@pytest.mark.parametrize("size", [1, 3, 4, 20])
def test_any_number_of_shares_makes_the_whole(size):
    group = Told(0, size)
    assert group.interleave(list(range(11))[group.share]) == list(range(11))


def test_alone_does_nothing():
    own = np.arange(4)
    weights = [torch.ones(2), torch.zeros(1, dtype=torch.int64)]
    ALONE.add(weights)
    ALONE.same(weights)
    ALONE.wait()
    assert [t.tolist() for t in weights] == [[1, 1], [0]]
    assert [t.tolist() for t in ALONE.gather_tensors(weights)[0]] == [[1, 1], [0]]
    assert ALONE.gather("x") == ["x"] and ALONE.is_first
    assert ALONE.interleave(own[ALONE.share]).tolist() == own.tolist()


def test_a_process_that_a_user_started_is_alone(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with joined(torch.device("cpu")) as group:
        assert group is ALONE
    assert not torch.distributed.is_initialized()
