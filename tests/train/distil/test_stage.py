"""The stage with train.kind distil: killed, resumed, and in several processes."""

import json
import shutil
from pathlib import Path

import pytest
import toy
from staged import SET, TRAIN, to_model, trained_in_processes
from training import StopError, a_model, stop_at

from vprlib.model.model import read_history, write_model
from vprlib.pipeline import paths
from vprlib.train.places import planned

DISTIL = {
    "kind": "distil",
    "teacher": "big",
    "epochs": 3,
    "keep": "last",
    "precision": "float32",
    "first_layer": "conv4",
    "learning_rate": 0.01,
    "images_a_batch": 6,
    "images_a_pass": 2,
    "schedule": {"kind": "steps", "warm_up": 3},
}


def ask_for_a_student(here: Path, processes: int = 1, **changes: object) -> None:
    tree = toy.params()
    tree["train"] = DISTIL | changes
    tree["runtime"].update(processes=processes, threads=1)
    tree["networks"] = {"big": {"file": "big.safetensors", "whitening": "keep"}}
    toy.write_params(here, tree)


def write_teacher(clusters: int = 6) -> None:
    write_model(paths.WEIGHTS / "big.safetensors", a_model(clusters=clusters), {})


def test_a_stage_that_was_killed_ends_at_the_same_bytes(here, run, slim, monkeypatch):
    monkeypatch.setattr(planned, "STEPS_A_BLOCK", 1)
    to_model(run)
    write_teacher()
    ask_for_a_student(here)
    run("load_model", "big")
    said = run("train", *TRAIN)
    assert "of 3, val recall@1" in said
    assert said.rstrip().endswith("18 images learnt from, 0 unreadable")
    expected = paths.model("trained").read_bytes(), paths.TRAIN_LOG.read_bytes()
    assert json.loads(paths.TRAIN_METRICS.read_text())["images"] == 18
    assert read_history(paths.model("trained"))["teacher"] == "big"
    paths.model("trained").unlink()
    with monkeypatch.context() as patch:
        stop_at(patch, "_learn", 5)  # in the second epoch
        with pytest.raises(StopError):
            run("train", *TRAIN)
    assert list(paths.SCRATCH.glob("train-*/state.pt"))
    run("train", *TRAIN)
    assert (paths.model("trained").read_bytes(), paths.TRAIN_LOG.read_bytes()) == expected
    assert not list(paths.SCRATCH.glob("train-*"))
    ask_for_a_student(here, train_images="database", epochs=0)
    assert "; 12 images learnt from" in run("train", *TRAIN)


def test_a_run_does_not_go_on_with_another_teacher(here, run, slim, monkeypatch):
    monkeypatch.setattr(planned, "STEPS_A_BLOCK", 1)
    to_model(run)
    write_teacher()
    ask_for_a_student(here)
    run("load_model", "big")
    with monkeypatch.context() as patch:
        stop_at(patch, "_learn", 5)
        with pytest.raises(StopError):
            run("train", *TRAIN)
    write_teacher(8)
    run("load_model", "big")
    run("train", *TRAIN)
    found = paths.model("trained").read_bytes()
    run("train", *TRAIN)
    assert paths.model("trained").read_bytes() == found


def test_a_variant_that_is_trained_again_learns_from_the_teacher(here, run, slim):
    to_model(run)
    learn = {"epochs": 1, "learning_rate": 0.01, "first_layer": None}
    steps_of_variant = [{"prune": {"fraction": 0.5, "by": "magnitude"}}, {"finetune": learn}]
    found = []
    for teacher in ("big", "bigger"):
        tree = toy.params() | {"variant_defs": {"small": steps_of_variant}}
        tree["train"] = DISTIL | {"teacher": teacher}
        toy.write_params(here, tree)
        write_model(paths.model(teacher), a_model(clusters=6 + 2 * len(found)), {})
        assert "small:" in run("make_variant", "small", "off_the_shelf", SET, SET)
        found.append(paths.model("small").read_bytes())
    assert found[0] != found[1]


@pytest.mark.slow
def test_any_number_of_processes_and_a_kill_give_the_same_bytes(here, run):
    ask_for_a_student(here, teacher="off_the_shelf")
    to_model(run)
    shutil.copy(paths.model("off_the_shelf"), paths.model("big"))
    found = set()
    for processes in (1, 2, 4):  # of four, one has nothing to do
        changes = {"randaugment": {"operations": 1, "magnitude": 9}, "first_layer": "conv1"}
        ask_for_a_student(here, processes, **changes)
        found.add(trained_in_processes(here, is_killed=processes == 2))
    assert len(found) == 1


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"kind": "distill"}, "train.kind is 'distill'; did you mean 'distil'?"),
        ({"negatives": 3}, "train has no 'negatives'"),
        ({"labels": {"kind": "cliques"}}, "train has no 'labels'"),
        ({"positive_radius_m": 25.0}, "train has no 'positive_radius_m'"),
        ({"flip": 0.5}, "train has no 'flip'"),
        ({"teacher": "none"}, "train.teacher: is none, but train.kind distil needs a network"),
        ({"teacher": "trained"}, "train.teacher: is trained, which is what is being trained"),
        ({"teacher": "bigger"}, "artifacts/models/bigger.safetensors is missing"),
        ({"loss": {"similarities": 0.0}}, "descriptors and similarities are both 0"),
        ({"images_a_batch": 1}, "train.images_a_batch is 1"),
        ({"schedule": {"kind": "linear"}}, "train.schedule lacks 'steps'"),
    ],
)
def test_what_does_not_fit_a_student_is_refused(here, refused, changes, sentence, run, slim):
    if changes == {"teacher": "bigger"}:
        run("parse_mat", SET)
    ask_for_a_student(here, **changes)
    assert sentence in refused("train", SET, SET, "off_the_shelf")


def test_labels_have_no_teacher(here, refused):
    tree = toy.params()
    tree["train"]["teacher"] = "off_the_shelf"
    toy.write_params(here, tree)
    said = refused("train", SET, SET, "off_the_shelf")
    assert "train.teacher: should be none, since only train.kind distil has a teacher" in said
