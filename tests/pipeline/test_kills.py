"""Two clones end alike, and so does one that is killed again and again."""

import os
import random
import signal
import subprocess

import pytest
import tiny
import yaml

pytestmark = pytest.mark.slow

KILLS = 10


def longer(tree):
    """Training takes most of the time, in many blocks and epochs; one network on one set."""
    tree.update(eval_on=["city_val"], variants=["trained"])
    tree["train"].update(epochs=6, refresh_queries=4)
    return tree


@pytest.fixture(scope="module")
def untouched(tmp_path_factory):
    project = tiny.Project(tmp_path_factory.mktemp("untouched") / "project")
    project.write(longer(tiny.params()))
    project.repro()
    return project


def kill_after(project, seconds):
    """Whether `dvc repro` was still at work when its whole group was killed."""
    mend_torn_lock(project)
    process = project.start("repro")
    try:
        said, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return True
    assert process.returncode == 0, said
    return False


def mend_torn_lock(project):
    """DVC writes two files in place, and a kill may tear them."""
    project.vpr("doctor", "--fix")


def test_two_clones_end_with_the_same_lock(untouched, tmp_path):
    project = tiny.Project(tmp_path / "second")
    project.write(longer(tiny.params()))
    project.repro()
    assert project.lock == untouched.lock


def test_a_run_killed_ten_times_ends_with_the_same_lock(untouched, tmp_path):
    moments, kills, clones = random.Random(7), 0, 0
    project = None
    while kills < KILLS:
        if project is None:
            project, clones = tiny.Project(tmp_path / f"killed-{clones}"), clones + 1
            project.write(longer(tiny.params()))
        if kill_after(project, moments.uniform(2, 9)):
            kills += 1
        else:  # it came to its end between two kills
            assert project.lock == untouched.lock
            project = None
    mend_torn_lock(project)
    project.repro()
    assert project.lock == untouched.lock
    assert not list((project.folder / "artifacts/.scratch").glob("*"))
    assert not list(project.folder.rglob("*.partial"))


def kill_after_states(process, folder, count):
    """Kills the group when the state of training was written `count` times."""
    written = set()
    while process.poll() is None and len(written) <= count:
        written |= {path.stat().st_mtime_ns for path in folder.glob("train-*/state.pt")}
    assert process.poll() is None, process.communicate()[0]
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def test_training_killed_in_the_middle_goes_on_from_its_state(untouched, tmp_path):
    project = tiny.Project(tmp_path / "training")
    project.write(longer(tiny.params()))
    project.dvc("repro", "init_model")
    scratch = project.folder / "artifacts/.scratch"
    for count in (2, 3, 4):
        kill_after_states(project.start("repro", "train"), scratch, count)
        assert list(scratch.glob("train-*/state.pt"))
    project.repro()
    # DVC writes stages in the order in which they first ran, which is another one here
    assert yaml.safe_load(project.lock) == yaml.safe_load(untouched.lock)
