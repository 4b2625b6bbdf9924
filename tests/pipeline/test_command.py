"""Errors end in one sentence, at the shell and in Python."""

import os
import subprocess
import sys
from pathlib import Path

import h5py
import pytest
from safetensors import safe_open

from vprlib.model.device import prepare
from vprlib.pipeline import command
from vprlib.pipeline.params import UserError
from vprlib.pipeline.runtime import RuntimeSettings

ROOT = Path(__file__).parents[2]


def test_a_user_error_is_one_line_without_traceback(monkeypatch, capsys):
    def main() -> None:
        raise UserError("the moon is missing: put it back.")

    monkeypatch.setattr(sys, "argv", ["main"])
    with pytest.raises(SystemExit) as stop:
        command.run(main)
    assert stop.value.code == 1
    assert capsys.readouterr().err == "error: the moon is missing: put it back.\n"


@pytest.mark.parametrize(
    "read",
    [
        Path.read_text,
        h5py.File,
        lambda path: safe_open(path, framework="np"),
        lambda path: os.open(str(path), os.O_RDONLY),
    ],
)
def test_a_file_that_is_missing_is_one_line_without_traceback(monkeypatch, capsys, tmp_path, read):
    monkeypatch.setattr(sys, "argv", ["main"])
    with pytest.raises(SystemExit) as stop:
        command.run(lambda: read(tmp_path / "a b's.h5"))
    assert stop.value.code == 1
    assert capsys.readouterr().err == (
        f"error: {tmp_path}/a b's.h5 is missing: `dvc repro` makes what stages read; or name"
        " another file.\n"
    )


def test_an_error_of_ours_keeps_its_traceback(monkeypatch):
    def main() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(sys, "argv", ["main"])
    with pytest.raises(ZeroDivisionError):
        command.run(main)


def test_a_stage_outside_the_project_says_where_to_run_it(tmp_path):
    said = subprocess.run(
        [sys.executable, "-m", "stages.check_switches"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
    )
    assert said.returncode == 1
    assert said.stderr.strip() == (
        "error: params.yaml is missing: go to the folder of the project and run again."
    )


@pytest.mark.parametrize("name", ["tpu9", "cuda:99"])
def test_a_device_that_is_not_there_is_said(name):
    with pytest.raises(UserError, match=rf"runtime\.device is '{name}', which does not work here"):
        prepare(RuntimeSettings(device=name))


def test_threads_and_deterministic_kernels_are_set():
    import torch

    before = torch.get_num_threads()
    prepare(RuntimeSettings(device="cpu", threads=1))
    assert torch.get_num_threads() == 1 and torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(before)
