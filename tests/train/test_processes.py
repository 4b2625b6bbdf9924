"""Training in two processes: it follows one process, and goes on where it was killed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import toy
from groups import worker_of
from safetensors.numpy import load_file

STEPS = 50
LEARN = """
import os
from pathlib import Path
from typing import Annotated

import torch
import typer
from benchmarks.pictures import Size, drawn_data
from benchmarks.training import starting_model

from vprlib.pipeline import launch
from vprlib.pipeline.artifacts import write_json
from vprlib.model.device import prepare
from vprlib.pipeline.group import joined
from vprlib.model.model import read_model, write_model
from vprlib.pipeline.params import At, StageParams
from vprlib.pipeline.runtime import RuntimeSettings
from vprlib.pipeline.resume import Scratch
from vprlib.pipeline.cache import Cache
from vprlib.train.settings import TrainSettings
from vprlib.train.trainer import Trainer


class Params(StageParams):
    runtime: Annotated[RuntimeSettings, At("runtime")]


class Listening(Trainer):
    def _learn(self, step, images):
        before = self.state.loss_sum, self.state.terms
        super()._learn(step, images)
        sums = (self.state.loss_sum - before[0], self.state.terms - before[1])
        self.losses = [*getattr(self, "losses", []), sums[0] / sums[1]]


def main(
    name: str = typer.Option(), epochs: int = typer.Option(), parts: int = typer.Option()
) -> None:
    runtime = Params.load().runtime
    settings = TrainSettings(
        first_layer="conv4", epochs=epochs, negatives=4, negative_pool=20, refresh_queries=16,
        queries_a_step=4 // parts, accumulate=parts, learning_rate=1e-3, keep="last",
        rank_loss_negatives=5, precision="float32",
    )
    with joined(torch.device("cpu")) as group:
        folder = Path(f"images{os.getpid()}")
        data = drawn_data(folder, Size(96, 72, 45, 40), settings)
        device = prepare(runtime)
        if not Path("start.safetensors").exists() and group.is_first:
            write_model(Path("start.safetensors"), starting_model(data, "alexnet", "conv5", 8), {})
        group.wait()
        cache = Cache(Path("cache"), 2**30, lambda sentence: None)
        model = read_model(Path("start.safetensors"))
        trainer = Listening(
            model, data, settings, device, runtime, Scratch(Path(name)), cache, group
        )
        outcome = trainer.run()
    if group.is_first:
        write_model(Path(f"{name}.safetensors"), outcome.model, {})
        rows = [[row.loss, *row.recalls.values(), row.rank_loss] for row in outcome.log]
        write_json(Path(f"{name}.json"), {"steps": getattr(trainer, "losses", []), "rows": rows})


launch.run(main)
"""

pytestmark = pytest.mark.slow


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "learn.py").write_text(LEARN)
    return tmp_path


def start(
    folder: Path, name: str, processes: int, epochs: int = 5, parts: int = 1
) -> subprocess.Popen:
    tree = toy.params()
    tree["runtime"].update(processes=processes, threads=1, memory_gib=0.5)
    toy.write_params(folder, tree)
    environment = os.environ | {"PYTHONPATH": str(toy.ROOT)}
    given = {"name": name, "epochs": epochs, "parts": parts}
    arguments = [sys.executable, "-m", "learn", *(f"--{k}={v}" for k, v in given.items())]
    return subprocess.Popen(
        arguments, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True
    )


def finish(process: subprocess.Popen) -> str:
    said = process.communicate()[1]
    assert process.returncode == 0, said
    assert "UserWarning" not in said, said
    return said


def test_two_processes_follow_one(here: Path) -> None:
    for name, processes in (("one", 1), ("two", 2)):
        finish(start(here, name, processes))
    one, two = (json.loads((here / f"{name}.json").read_text()) for name in ("one", "two"))
    assert len(one["steps"]) == len(two["steps"]) == STEPS
    np.testing.assert_allclose(two["steps"], one["steps"], atol=1e-4, rtol=0)
    assert one["steps"][0] != one["steps"][-1]
    for row, other in zip(one["rows"], two["rows"], strict=True):
        np.testing.assert_allclose(row[1:-1], other[1:-1], atol=0.051)  # of 20 queries, one more
        assert row[-1] == pytest.approx(other[-1], abs=1e-4)
    weights = [load_file(here / f"{name}.safetensors") for name in ("one", "two")]
    start_weights = load_file(here / "start.safetensors")
    for tensor, values in weights[0].items():
        np.testing.assert_allclose(weights[1][tensor], values, atol=2e-4)
    last = "backbone.10.weight"
    moved = np.abs(weights[0][last] - start_weights[last]).max()
    assert moved > 5e-4
    assert np.abs(weights[1][last] - weights[0][last]).max() < 0.05 * moved


def test_processes_that_take_whole_parts_end_at_the_bytes_of_one(here: Path) -> None:
    for processes in (1, 2, 3):  # of three, two have nothing to do in the last turn
        finish(start(here, f"parts{processes}", processes, epochs=3, parts=4))
    models = {(here / f"parts{n}.safetensors").read_bytes() for n in (1, 2, 3)}
    assert len(models) == 1
    one, *others = (json.loads((here / f"parts{n}.json").read_text()) for n in (1, 2, 3))
    for other in others:
        assert other["steps"] == one["steps"]
        for row, expected in zip(other["rows"], one["rows"], strict=True):
            assert row[:-1] == expected[:-1]
            assert row[-1] == pytest.approx(expected[-1], abs=1e-6)  # the rank loss, a mean


def test_a_group_of_which_one_is_killed_says_so_and_goes_on_to_the_same_model(here: Path) -> None:
    finish(start(here, "whole", 2, epochs=2))
    for states in (1, 3):  # kept by then
        process = start(here, "broken", 2, epochs=2)
        wait_for_states(here / "broken/state.pt", states, process)
        os.kill(worker_of(process.pid), signal.SIGKILL)
        said = process.communicate()[1]
        assert process.returncode == 1
        assert "was stopped by SIGKILL: run `dvc repro` again" in said
        assert "Traceback" not in said
    finish(start(here, "broken", 2, epochs=2))
    names = ("whole", "broken")
    whole, broken = ((here / f"{name}.safetensors").read_bytes() for name in names)
    assert whole == broken
    rows = [json.loads((here / f"{name}.json").read_text())["rows"] for name in names]
    assert rows[0] == rows[1]


def wait_for_states(path: Path, count: int, process: subprocess.Popen) -> None:
    """Until the state was written so often by this run."""
    seen, last = 0, path.stat().st_mtime_ns if path.exists() else 0
    while seen < count:
        assert process.poll() is None, process.communicate()[1]
        now = path.stat().st_mtime_ns if path.exists() else 0
        seen, last = seen + (now != last), now
        time.sleep(0.005)
