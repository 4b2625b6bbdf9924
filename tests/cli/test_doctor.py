"""`vpr doctor` names what is wrong in a line each, and mends what is safe to mend."""

import hashlib
import json
import os
import subprocess
from pathlib import Path

import pytest
import tiny
import torch
import toy
import yaml

from vprlib.cli import doctor
from vprlib.pipeline import command


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose lock is committed."""
    for name in ("params.yaml", "dvc.lock"):
        (tmp_path / name).write_bytes((tiny.ROOT / name).read_bytes())
    (tmp_path / ".dvc/tmp").mkdir(parents=True)
    who = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    for arguments in (["init", "-q"], ["add", "dvc.lock"], [*who, "commit", "-qm", "lock"]):
        subprocess.run(["git", *arguments], cwd=tmp_path, check=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def examine(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """The exit code, and the lines of the report that are not ok."""

    def run(*options: str) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["doctor", *options])
        with pytest.raises(SystemExit) as stop:
            command.run(doctor.main)
        lines = capsys.readouterr().out.splitlines()
        return stop.value.code, "\n".join(line for line in lines if not line.startswith("ok"))

    return run


def test_a_project_that_is_well_has_nothing_wrong(project, examine):
    assert examine("--deep") == (0, "")


def test_a_lock_torn_at_any_byte_is_mended(project, examine):
    whole = (project / "dvc.lock").read_bytes()
    cuts = [whole[:length] for length in range(0, len(whole), 499)]
    torn = [cut for cut in cuts if doctor._problem_of_lock(cut)]
    assert len(torn) > 25
    for cut in torn[::20]:
        (project / "dvc.lock").write_bytes(cut)
        assert examine()[0] == 1 and examine("--fix")[0] == 0
        assert (project / "dvc.lock").read_bytes() == whole


TORN = [b"", bytes(4096), b"\xff\xfe", b"- a", b"schema: '2.0'\nstages: 3"]


@pytest.mark.parametrize("content", TORN)
def test_a_lock_that_no_commit_has_is_removed(project, examine, content):
    subprocess.run(["git", "rm", "-q", "--cached", "dvc.lock"], check=True)
    who = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    subprocess.run(["git", *who, "commit", "-qm", "none"], check=True)
    (project / "dvc.lock").write_bytes(content)
    assert examine()[0] == 1
    assert "removed dvc.lock" in examine("--fix")[1]
    assert not (project / "dvc.lock").exists()


def note(number: object) -> str:
    return json.dumps({"data": {"write": {"pid": number, "cmd": "dvc repro"}}})


@pytest.mark.parametrize("content", ["{", "[1]", '{"a": 3}', note("x"), note(2**22 + 1)])
def test_the_notes_of_a_dead_dvc_are_removed(project, examine, content):
    (project / ".dvc/tmp/rwlock").write_text(content)
    code, said = examine()
    assert code == 1 and "rwlock: is " in said
    assert examine("--fix")[0] == 0 and not (project / ".dvc/tmp/rwlock").exists()


def test_nothing_is_mended_while_dvc_is_at_work(project, examine):
    (project / ".dvc/tmp/rwlock").write_text(note(os.getpid()))
    (project / "dvc.lock").write_text("")
    code, said = examine("--fix")
    assert code == 1 and said.endswith("wait for it to end")
    assert (project / "dvc.lock").read_text() == ""


def test_what_a_kill_left_is_removed_and_what_goes_on_is_kept(project, examine):
    (project / "artifacts/.scratch/train-1").mkdir(parents=True)
    (project / "artifacts/.scratch/train-1/state.pt").write_bytes(bytes(2**20))
    (project / "artifacts/.trained.safetensors.partial").touch()
    assert "1 half-written files of killed stages" in examine()[1]
    assert examine("--fix")[0] == 0
    assert not list((project / "artifacts").glob("*.partial"))
    assert (project / "artifacts/.scratch/train-1/state.pt").exists()


def test_links_and_weights_that_are_not_there_are_named(project, examine):
    weights = project / "data/raw/weights"
    weights.mkdir(parents=True)
    (project / "data/raw/pitts30k").symlink_to("/nowhere")
    torch.save({}, weights / "whole.pth")
    digest = hashlib.sha256((weights / "whole.pth").read_bytes()).hexdigest()[:8]
    (weights / "whole.pth").rename(weights / f"alexnet-owt-{digest}.pth")
    (weights / "vgg16-397923af.pth").write_bytes(b"cut")
    tree = yaml.safe_load((project / "params.yaml").read_text())
    tree["kmeans"]["file"] = "words.h5"
    (project / "params.yaml").write_text(yaml.safe_dump(tree))
    code, said = examine("--fix")
    assert code == 1
    assert said.splitlines() == [
        "wrong   data/raw/pitts30k: links to /nowhere, which is not there",
        "wrong   data/raw/weights/words.h5: is missing; put it there",
        "wrong   data/raw/weights/vgg16-397923af.pth: was altered or is cut, since its name says"
        " another content; fetch it again",
    ]


def test_objects_of_the_cache_are_held_against_their_names(project, examine):
    content = b"an output"
    name = hashlib.md5(content).hexdigest()
    path = project / ".dvc/cache/files/md5" / name[:2] / name[2:]
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    assert examine("--deep") == (0, "")
    path.write_bytes(b"a damaged output")
    assert examine() == (0, "") and "1 of 1 objects are damaged" in examine("--deep")[1]
    assert examine("--deep", "--fix")[0] == 0 and not path.exists()


@pytest.mark.parametrize("place", ["artifacts/.cache", "elsewhere"])
@pytest.mark.parametrize("content", ["{", "[1]", '{"what": "maps"}'])
def test_a_damaged_entry_of_the_cache_is_removed(project, examine, content, place):
    if place == "elsewhere":
        tree = yaml.safe_load((project / "params.yaml").read_text())
        tree["runtime"]["cache_dir"] = place
        toy.write_params(project, tree)
    entry = project / place / "abc"
    entry.mkdir(parents=True)
    (entry / "about.json").write_text(content)
    assert f"{place}/abc/about.json is damaged" in examine()[1]
    assert examine("--fix")[0] == 0 and not entry.exists()


def test_versions_that_do_not_fit_are_named(project, examine, monkeypatch):
    found = doctor.metadata.version
    monkeypatch.setattr(
        doctor.metadata, "version", lambda name: "1.0" if name == "torch" else found(name)
    )
    code, said = examine()
    assert code == 1 and "torch is 1.0, but vprlib needs >=" in said


def test_parameters_that_cannot_be_read_do_not_stop_the_report(project, examine):
    (project / "params.yaml").write_text("a: [")
    (project / "dvc.lock").write_text("")
    code, said = examine()
    assert code == 1 and "params.yaml is not valid YAML" in said and "dvc.lock: is empty" in said
