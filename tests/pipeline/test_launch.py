"""A stage in several processes starts, speaks and ends like one."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer
import yaml
from groups import free_port

from vprlib.pipeline import launch

ROOT = Path(__file__).parents[2]
STAGE = """
import os, time
from pathlib import Path

import torch
import typer
from vprlib.pipeline import launch
from vprlib.pipeline.params import UserError
from vprlib.pipeline.runtime import member

def main(does: str = typer.Option(), out: Path = typer.Option(Path("out.txt"))) -> None:
    rank = member().rank
    typer.echo(f"process {rank} speaks")
    Path(f"{rank}.pid").write_text(str(os.getpid()))  # the test waits for it
    if does == "meet":
        import torch
        from vprlib.pipeline.group import joined
        from vprlib.pipeline.runtime import RuntimeSettings
        with joined(torch.device("cpu")) as group:
            out.with_name(f"{rank}.txt").write_text(str(group.gather(rank)))
        return
    if does == "fail":
        raise UserError("the moon is missing.")
    if does == "divide" and rank == 1:
        print(1 / 0)
    time.sleep(100)

if __name__ == "__main__":
    launch.run(main)
"""
GO_ON = "run `dvc repro` again; it goes on from the state that was last kept."


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Holds the stage, and params.yaml for two processes."""
    (tmp_path / "stage.py").write_text(STAGE)
    set_runtime(tmp_path, processes=2)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def set_runtime(folder, **changed):
    tree = yaml.safe_load((ROOT / "params.yaml").read_text())
    tree["runtime"].update(device="cpu", **changed)
    (folder / "params.yaml").write_text(yaml.safe_dump(tree))


@pytest.fixture
def start():
    """Runs the stage; nothing that a test has started outlives it."""
    started = []

    def starting(does):
        command = [sys.executable, "-m", "stage", "--does", does]
        env = os.environ | {"PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(
            command, stdout=-1, stderr=-1, text=True, env=env, preexec_fn=_hear_ctrl_c
        )
        started.append(process)
        return process

    yield starting
    for process in started:
        process.kill()
        process.communicate()


def _hear_ctrl_c():
    """A shell's background jobs, such as these tests may be, are started deaf to it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def ended(process):
    """Exit code and what was said on both streams."""
    said = process.communicate(timeout=120)
    return process.returncode, *said


def members(folder, count=2):
    """The numbers of the processes, once all have begun."""
    paths = [folder / f"{rank}.pid" for rank in range(count)]
    await_truth(lambda: all(path.exists() and path.read_text() for path in paths), 100)
    return [int(path.read_text()) for path in paths]


def await_truth(holds, seconds):
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def call(monkeypatch, main, *arguments):
    monkeypatch.setattr(sys, "argv", ["stage", *arguments])
    with pytest.raises(SystemExit) as stop:
        launch.run(main)
    return stop.value.code


def test_a_stage_that_has_done_its_work_waits_for_nothing(folder):
    (folder / "stage.py").write_text(
        "import atexit, time, typer\n"
        "from vprlib.pipeline import launch\n"
        "atexit.register(time.sleep, 100)\n"
        "launch.run(lambda: typer.echo('done'))\n"
    )
    set_runtime(folder)
    command = [sys.executable, "stage.py"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stdout) == (0, "done\n")


def test_one_process_is_this_one(folder, monkeypatch, capsys):
    def main(out: Path = typer.Option()) -> None:
        typer.echo(f"{os.getpid()} {out!r}")

    set_runtime(folder)
    assert call(monkeypatch, main, "--out", "a.txt") == 0
    assert capsys.readouterr().out == f"{os.getpid()} {Path('a.txt')!r}\n"


def test_a_wrong_option_is_said_before_any_process_starts(folder, monkeypatch, capsys):
    monkeypatch.setattr(launch, "_launch", lambda processes: pytest.fail("a process was started"))
    assert call(monkeypatch, lambda: None, "--oit", "a.txt") == 2
    assert "--oit" in capsys.readouterr().err


def test_what_all_processes_say_is_said_once_without_traceback(folder, start):
    code, out, error = ended(start("fail"))
    assert (code, error) == (1, "error: the moon is missing.\n")
    assert out in ("process 0 speaks\n", "")  # the second may end both


def test_a_killed_process_ends_all_with_a_sentence(folder, start):
    launcher = start("sleep")
    pids = members(folder)
    os.kill(pids[1], signal.SIGKILL)
    code, out, error = ended(launcher)
    assert (code, out) == (1, "process 0 speaks\n")
    assert error == f"error: process 2 of 2 of the group was stopped by SIGKILL: {GO_ON}\n"
    assert not any(map(is_alive, pids))


def test_ctrl_c_ends_all_as_it_ends_one(folder, start):
    launcher = start("sleep")
    pids = members(folder)
    launcher.send_signal(signal.SIGINT)
    assert ended(launcher) == (130, "process 0 speaks\n", "")
    assert not any(map(is_alive, pids))


def test_no_process_outlives_a_killed_launcher(folder, start):
    launcher = start("sleep")
    pids = members(folder)
    launcher.kill()
    launcher.wait()
    await_truth(lambda: not any(map(is_alive, pids)), 20)


@pytest.mark.slow
def test_sigterm_ends_all(folder, start):
    launcher = start("sleep")
    pids = members(folder)
    launcher.terminate()
    assert ended(launcher) == (128 + signal.SIGTERM, "process 0 speaks\n", "")
    assert not any(map(is_alive, pids))


@pytest.mark.slow
def test_an_error_of_ours_keeps_its_traceback(folder, start):
    code, _, error = ended(start("divide"))
    traceback, _, sentence = error.rpartition("\nerror: ")
    assert code == 1 and traceback.endswith("ZeroDivisionError: division by zero")
    assert sentence == (
        f"process 2 of 2 of the group ended with exit code 1: fix what it said above, and {GO_ON}\n"
    )


def failure(exitcode, folder, message=None):
    """As torch's launcher tells of a process that has ended badly, and left a sentence or none."""
    name = signal.Signals(-exitcode).name if exitcode < 0 else "<N/A>"
    path = folder if message else folder / "none"
    return SimpleNamespace(
        exitcode=exitcode, error_file=str(path), message=message, signal_name=lambda: name
    )


def test_the_cause_is_told_from_the_processes_that_the_launcher_stopped(tmp_path):
    failures = {0: failure(-15, tmp_path), 2: failure(3, tmp_path), 3: failure(-15, tmp_path)}
    assert launch._explain(failures, 4)[0].startswith(
        "process 3 of 4 of the group ended with exit co"
    )
    del failures[2]
    assert launch._explain(failures, 4)[0].startswith(
        "process 1 of 4 of the group was stopped by SIG"
    )


def test_sentences_that_differ_are_all_told_and_nothing_else(tmp_path):
    said = ["no moon.", "no sun.", None, "no moon."]
    failures = {rank: failure(1, tmp_path, what) for rank, what in enumerate(said)}
    assert launch._explain(failures, 4) == ["no moon.", "no sun."]


def torchrun(folder, port, does):
    """The stage under torchrun, as a user starts it on one of two machines."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1"]
    command += ["--rdzv-backend=c10d", f"--rdzv-endpoint=localhost:{port}", "--rdzv-id=test"]
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*command, "-m", "stage", "--does", does],
        cwd=folder, stdout=-1, stderr=-1, text=True, env=env,
    )  # fmt: skip


@pytest.mark.slow
def test_two_machines_meet_under_torchrun_and_only_the_first_process_is_heard(folder):
    port = free_port()
    machines = [torchrun(folder, port, "meet") for _ in range(2)]
    said = [ended(machine)[:2] for machine in machines]
    assert sorted(said) == [(0, ""), (0, "process 0 speaks\n")]
    assert [(folder / f"{rank}.txt").read_text() for rank in (0, 1)] == ["[0, 1]", "[0, 1]"]


@pytest.mark.slow
def test_torchrun_reports_the_sentence_of_an_error(folder):
    port = free_port()
    machines = [torchrun(folder, port, "fail") for _ in range(2)]
    said = [ended(machine) for machine in machines]
    assert [code for code, *_ in said] == [1, 1]
    assert any("the moon is missing." in error for *_, error in said)


@pytest.mark.slow
def test_no_process_outlives_a_torchrun_that_was_killed(folder):
    port = free_port()
    machines = [torchrun(folder, port, "sleep") for _ in range(2)]
    pids = members(folder)
    for machine in machines:
        machine.kill()
        machine.communicate()
    await_truth(lambda: not any(map(is_alive, pids)), 20)
