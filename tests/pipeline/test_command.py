"""Errors end in one sentence, at the shell and in Python."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import h5py
import pytest
from safetensors import safe_open

from vprlib.model.device import prepare
from vprlib.pipeline import command
from vprlib.pipeline.params import UserError
from vprlib.pipeline.runtime import RuntimeSettings, processor_name

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


@pytest.fixture
def said_of(monkeypatch, capsys):
    """What is printed of an error that reaches the command line."""

    def run(does):
        monkeypatch.setattr(sys, "argv", ["main"])
        with pytest.raises(SystemExit) as stop:
            command.run(lambda: does())
        assert stop.value.code == 1
        return capsys.readouterr().err

    return run


def raising(error):
    def fail():
        raise error

    return fail


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a\nb", "a\\nb"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\0b", "a\\x00b"),
        (os.fsdecode(b"caf\xe9"), "caf\\udce9"),
        ("\u2028\u202e\r\t", "\\u2028\\u202e\\r\\t"),
        ("Größe 東京", "Größe 東京"),
    ],
)
def test_a_sentence_is_one_line_of_printable_characters(said_of, name, shown):
    said = said_of(raising(UserError(f"'{name}' is missing: put it back.")))
    assert said == f"error: '{shown}' is missing: put it back.\n"


@pytest.mark.parametrize("length", [1, 300, 400, 1000, 10**6])
def test_a_sentence_is_never_above_four_hundred_characters(said_of, length):
    said = said_of(raising(UserError(f"data/{'x' * length} has no 'epoch': name another file.")))
    assert len(said) <= 400 and said.count("\n") == 1 and ("…" in said) == (length >= 400)
    assert said.startswith("error: data/x") and said.endswith(
        "has no 'epoch': name another file.\n"
    )


def test_several_sentences_are_a_line_each(said_of):
    said = said_of(raising(UserError("no moon.", "no\nsun.")))
    assert said == "error: no moon.\nerror: no\\nsun.\n"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("folder", "is a directory"),
        ("file/below", "not a directory"),
        ("x" * 300, "file name too long"),
        ("round", "too many levels of symbolic links"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_sentence(said_of, tmp_path, name, reason):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "round").symlink_to("round")
    for read in (Path.read_text, lambda path: os.open(path, os.O_WRONLY)):
        said = said_of(lambda: read(tmp_path / name))  # noqa: B023
        assert said.endswith(f" cannot be used: {reason}; name another file, or mend this one.\n")
        assert said.startswith(f"error: {str(tmp_path)[:99]}") and len(said) <= 400


def test_a_name_that_cannot_be_written_is_one_sentence(said_of):
    said = said_of(lambda: os.fsdecode(b"caf\xe9.jpg").encode())
    assert said == "error: 'caf\\udce9.jpg' is no name in UTF-8: rename the file.\n"


def test_what_is_printed_may_hold_a_name_that_is_no_utf8(tmp_path):
    program = "from vprlib.pipeline import command; command.run(lambda: print('\\udce9'))"
    said = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True)
    assert (said.returncode, said.stdout, said.stderr) == (0, b"\\udce9\n", b"")


@pytest.mark.parametrize(
    "error", [ZeroDivisionError(), OSError("no file"), OSError(12, "no memory"), ValueError("x")]
)
def test_an_error_of_ours_keeps_its_traceback(monkeypatch, error):
    monkeypatch.setattr(sys, "argv", ["main"])
    with pytest.raises(type(error)):
        command.run(raising(error))


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
        "error: params.yaml is missing: go to the folder of the project, the one that holds"
        " params.yaml and dvc.yaml, and run again."
    )


STAGE = """
import sys
from vprlib.pipeline import command
from vprlib.pipeline.params import UserError

def main(name: str) -> dict[str, float]:
    if name == "bad":
        raise UserError("it is bad.")
    return {"shown": 3}

command.run(main)
"""


@pytest.fixture
def run_stage(tmp_path):
    """Runs a stage in a project of its own; gives its exit code and all notes of seconds."""
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages/__init__.py").touch()
    (tmp_path / "stages/some.py").write_text(STAGE)

    def run(*arguments, **environment):
        command = [sys.executable, "-m", "stages.some", *arguments]
        given = {"PYTHONPATH": f"{tmp_path}:{ROOT}", "PATH": os.environ["PATH"], **environment}
        done = subprocess.run(command, cwd=tmp_path, env=given, capture_output=True)
        notes = tmp_path.glob("artifacts/.times/*")
        return done.returncode, [json.loads(path.read_text()) for path in notes]

    return run


def test_a_stage_that_has_run_notes_its_seconds(run_stage):
    before = time.time()
    _, [note] = run_stage("city")
    assert note["command"] == "python -m stages.some city"
    assert before < note["started"] < note["started"] + note["seconds"] < time.time()
    assert note["processor"] == processor_name() and note["told"] == {"shown": 3}
    run_stage("town")
    assert len(run_stage("town")[1]) == 2


@pytest.mark.parametrize("arguments", [["bad"], ["--help"], []])
def test_a_stage_that_did_nothing_notes_nothing(run_stage, arguments):
    assert run_stage(*arguments)[1] == []


def test_one_process_of_a_group_notes_nothing(run_stage):
    group = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_PORT": "1"}
    assert run_stage("city", **group) == (0, [])


def test_a_stage_that_cannot_note_its_seconds_has_done_its_work(run_stage, tmp_path):
    (tmp_path / "artifacts").write_text("no folder")
    assert run_stage("city") == (0, [])


def test_a_device_that_is_not_there_is_said():
    with pytest.raises(UserError, match=r"runtime\.device is 'cuda:99', which does not work here"):
        prepare(RuntimeSettings(device="cuda:99"))


def test_threads_and_deterministic_kernels_are_set():
    import torch

    before = torch.get_num_threads()
    prepare(RuntimeSettings(device="cpu", threads=1))
    assert torch.get_num_threads() == 1 and torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(before)
