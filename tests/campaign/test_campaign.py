"""Damaged input through every public door: a sentence or a result, and nothing else.

1,500 cases as a rule; VPRLIB_CAMPAIGN_CASES and VPRLIB_CAMPAIGN_SEED ask for others.
"""

import faulthandler
import importlib
import os
import random
import resource
import shutil
import sys
import time
from pathlib import Path

import pytest
from campaign import doors
from campaign.watch import watching

from vprlib.cli import main
from vprlib.pipeline import command

pytestmark = pytest.mark.slow

SEED = int(os.environ.get("VPRLIB_CAMPAIGN_SEED", "1"))
CASES = int(os.environ.get("VPRLIB_CAMPAIGN_CASES", "1500"))
EACH = -(-CASES // (len(doors.DOORS) + 1))
KEPT = {".scratch", ".cache", "reports", "__pycache__", "tensorboard"}  # written on the way
LONGEST_S, LONGEST_SENTENCE, MOST_KIB = 10, 400, 2**21


@pytest.fixture(scope="module")
def whole(made, tmp_path_factory):
    """The evaluated toy with all that the doors need."""
    folder = tmp_path_factory.mktemp("campaign") / "whole"
    shutil.copytree(made, folder)
    before = Path.cwd()
    os.chdir(folder)
    doors.prepare(folder)
    os.chdir(before)
    (folder.parent / "outside").mkdir()
    for name in ("secret", "secret.jpg", "secret.h5"):
        shutil.copy(folder / "some/1.jpg", folder.parent / "outside" / name)
    return folder


@pytest.fixture
def here(whole, monkeypatch):
    """A copy of it, beside files that nobody may read."""
    folder = whole.with_name("here")
    renew(whole, folder)
    monkeypatch.chdir(folder)
    yield folder
    shutil.rmtree(folder)


def renew(whole, folder):
    if folder.exists():
        shutil.rmtree(folder)
    shutil.copytree(whole, folder, symlinks=True)


def contents(folder):
    """What is in the folder but for what may be left: name, size and time."""
    found = {}
    for at, names, files in os.walk(folder):
        names[:] = set(names) - KEPT
        for name in files:
            about = (Path(at) / name).lstat()
            found[f"{at}/{name}"] = (about.st_size, about.st_mtime_ns)
    return found


def call(words, capsys, monkeypatch):
    """Exit code, what was said on stderr, and how long it took."""
    program, *arguments = words
    is_vpr = program == "vpr"
    monkeypatch.setattr(sys, "argv", ["vpr" if is_vpr else program, *arguments])
    capsys.readouterr()
    start, code = time.perf_counter(), 0
    try:
        if is_vpr:
            main.run()
        else:
            command.run(importlib.import_module(f"stages.{program}").main)
    except SystemExit as stop:
        code = int(stop.code or 0)
    return code, capsys.readouterr().err, time.perf_counter() - start


def judge(what, words, here, capsys, monkeypatch):
    """Runs one case; gives what is wrong with how it ended, or nothing."""
    before = contents(here)
    try:
        with watching(here) as forbidden:
            code, said, seconds = call(words, capsys, monkeypatch)
    except BaseException as error:  # that is what is looked for
        if isinstance(error, KeyboardInterrupt):
            raise
        return True, f"{type(error).__name__}: {str(error)[:300]}"
    # what a user names may lie anywhere
    named = [e for e in forbidden if what != "options" or not e.startswith("open ")]
    problems = [f"did {event}" for event in named[:2]]
    errors = [line for line in said.splitlines() if line.startswith(("error: ", "Error: "))]
    if code not in (0, 1, 2):
        problems.append(f"ended with {code}")
    if code == 1 and len(errors) != 1 and words[:2] != ["vpr", "doctor"]:
        problems.append(f"said {said[-300:]!r}")
    problems += [f"said {len(e)} characters" for e in errors if len(e) > LONGEST_SENTENCE]
    problems += [f"said {e[:99]!r}" for e in errors if not e.isprintable()]
    if seconds > LONGEST_S:
        problems.append(f"took {seconds:.0f} s")
    changed = [] if code == 0 else sorted(contents(here).items() ^ before.items())
    problems += [f"left {name}" for name, _ in changed[:2]]
    return code == 0, "; ".join(problems)


@pytest.mark.parametrize("name", [*doors.DOORS, "options"])
def test_damaged_input_gives_a_sentence_or_a_result(name, whole, here, capsys, monkeypatch):
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = []
    for number in range(EACH):
        rng = random.Random(f"{SEED} {name} {number}")
        path = None
        if name == "options":
            words = doors.odd_options(rng)
        else:
            path, words = doors.DOORS[name].open(here, rng)
        faulthandler.dump_traceback_later(60, exit=True, file=sys.__stderr__)
        is_well, problem = judge(name, words, here, capsys, monkeypatch)
        faulthandler.cancel_dump_traceback_later()
        if problem:
            found.append(f"{number}: {' '.join(words)[:99]} ({path and path.name}): {problem}")
        if is_well or path is None or problem:
            renew(whole, here)
        else:
            restore(whole, here, path)
        os.chdir(here)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory
    if grown > MOST_KIB:
        found.append(f"memory grew by {grown / 2**20:.1f} GiB")
    assert not found, "\n".join([f"{len(found)} of {EACH}", *found])


def restore(whole, here, path):
    """The damaged file as it was."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    shutil.copy(whole / path.relative_to(here), path)
