"""The stage with train.kind places: killed, resumed, and in several processes."""

import json
from pathlib import Path

import pytest
import toy
from staged import SET, TRAIN, to_model, trained_in_processes
from training import StopError, stop_at

from vprlib.pipeline import paths
from vprlib.train.places import planned

PLACES = {
    "kind": "places",
    "epochs": 3,
    "precision": "float32",
    "first_layer": "conv4",
    "learning_rate": 0.01,
    "labels": {"kind": "cliques"},
    "images_a_place": 3,
    "places_a_batch": 2,
    "images_a_pass": 2,
    "schedule": {"kind": "steps", "warm_up": 3},
}


def ask_for_places(here: Path, processes: int = 1) -> None:
    tree = toy.params()
    tree["train"] = PLACES
    tree["runtime"].update(processes=processes, threads=1)
    toy.write_params(here, tree)


def test_a_stage_that_was_killed_ends_at_the_same_bytes(here, run, slim, monkeypatch):
    monkeypatch.setattr(planned, "STEPS_A_BLOCK", 1)
    to_model(run)
    ask_for_places(here)
    said = run("train", *TRAIN)
    assert "of 3, val recall@1" in said
    assert said.rstrip().endswith("0 images left out, which are in no place")
    expected = paths.model("trained").read_bytes(), paths.TRAIN_LOG.read_bytes()
    summary = json.loads(paths.TRAIN_METRICS.read_text())
    assert (summary["images"], summary["images_left_out"]) == (18, 0)
    paths.model("trained").unlink()
    with monkeypatch.context() as patch:
        stop_at(patch, "_learn", 5)  # in the second epoch
        with pytest.raises(StopError):
            run("train", *TRAIN)
    assert list(paths.SCRATCH.glob("train-*/state.pt"))
    run("train", *TRAIN)
    assert (paths.model("trained").read_bytes(), paths.TRAIN_LOG.read_bytes()) == expected
    assert not list(paths.SCRATCH.glob("train-*"))


@pytest.mark.slow
def test_any_number_of_processes_and_a_kill_give_the_same_bytes(here, run):
    to_model(run)
    found = set()
    for processes in (1, 2, 4):  # of four, one has nothing to do
        ask_for_places(here, processes)
        found.add(trained_in_processes(here, is_killed=processes == 2))
    assert len(found) == 1


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"negatives": 3}, "train has no 'negatives'"),
        ({"kind": "pairs"}, "train.kind is 'pairs'; did you mean 'places'?"),
        (
            {"labels": {"kind": "squares"}},
            "labels.kind is 'squares'; did you mean 'cliques'?",
        ),
        ({"labels": {}}, "train.labels lacks 'kind'"),
        ({"labels": {"kind": "cells", "members": "alike"}}, "train.labels has no 'members'"),
        ({"schedule": {"kind": "linear"}}, "train.schedule lacks 'steps'"),
        ({"images_a_place": 1}, "train.images_a_place is 1"),
    ],
)
def test_what_does_not_fit_places_is_refused(here, refused, changes, sentence):
    tree = toy.params()
    tree["train"] = PLACES | changes
    toy.write_params(here, tree)
    assert sentence in refused("train", SET, SET, "off_the_shelf")
