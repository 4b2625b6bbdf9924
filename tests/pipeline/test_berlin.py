"""The preset for Berlin: its layout, how it learns, and the submission at the end."""

import importlib
import io
import json
import sys
from collections import Counter, defaultdict
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import toy
import yaml
from twins import checkpoint, twin

from vprlib.cli.use import compose
from vprlib.images import batches
from vprlib.model.model import read_model
from vprlib.pipeline import command, paths

PLACES, REFERENCES_A_PLACE, EPOCHS = 8, 3, 5
SIZE = (64, 48)  # of pictures
SET, START = "berlin", "heaputil"
CHECKPOINT = paths.WEIGHTS / "heaputil_k16.pth.tar"
# the .mat's order is not that of letters; a place's references stand side by side
REFERENCES = [
    f"Reference_resized/Image_({n}).jpg" for n in range(2, 2 + PLACES * REFERENCES_A_PLACE)
]
QUERIES = [f"Query_resized/seq2Image_{n}.jpg" for n in range(4, 4 + PLACES)]
CORNER = np.array([383_697.196480341, 5_817_547.097])


def at(place, metres):
    return CORNER + np.array([120.0 * place + metres, 0.0])  # other places are beyond 50 m


def params():
    """What `vpr use berlin` writes; only how it runs is changed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(toy.ROOT)
        text = compose(Path("params.yaml").read_text(), "berlin", {})
    tree = yaml.load(text, toy.LOADER)
    # without a cache, so that each look at an image opens it and can be counted
    tree["runtime"].update(device="cpu", workers=1, threads=1, cache_gib=0.0)
    return tree


def write_berlin(folder):
    """The set in Berlin's layout: one .mat, 24 references, a query a place."""
    references = [(p, 8.0 * i) for p in range(PLACES) for i in range(REFERENCES_A_PLACE)]
    queries = [(p, 4.0) for p in range(PLACES)]
    noise = np.random.default_rng(1)
    for names, spots in ((REFERENCES, references), (QUERIES, queries)):
        for name, (place, _) in zip(names, spots, strict=True):
            toy.write_picture(folder / name, place, noise, SIZE)
    positions = [np.array([at(*spot) for spot in spots]) for spots in (references, queries)]
    sides = [np.array(REFERENCES), positions[0], np.array(QUERIES), positions[1]]
    toy.write_cells(folder / "berlin.mat", [*sides, len(REFERENCES), PLACES, 50, 2500])


def write_start():
    """A checkpoint as the port itself would have saved it."""
    paths.WEIGHTS.mkdir(parents=True, exist_ok=True)
    torch.save(checkpoint(twin("vgg16", 16, vladv2=False)), CHECKPOINT)


# every stage that dvc.yaml has for the preset, in order
STAGES = [
    ("check_switches",),
    ("parse_mat", SET),
    ("audit", SET, SET, SET),
    ("load_model", START),
    ("train", SET, SET, START),
    *(("extract_db", SET, variant) for variant in (START, "trained")),
    *(("extract_queries", SET, variant) for variant in (START, "trained")),
    *(
        (stage, SET, variant, "full")
        for stage in ("search", "recall", "calibrate", "diagnose")
        for variant in (START, "trained")
    ),
]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with params.yaml and the set, but no checkpoint; the test runs inside it."""
    monkeypatch.chdir(tmp_path)
    toy.write_params(tmp_path, params())
    write_berlin(Path("data/raw/berlin"))
    return tmp_path


def test_the_layout_is_parsed_with_its_fifty_metres(here, run):
    said = run("parse_mat", SET)
    assert "24 database images, 8 queries at 8 positions, 0 without a positive at 50 m" in said
    with h5py.File(paths.index(SET, "db")) as file:
        assert file["names"].asstr()[:].tolist() == REFERENCES
        assert np.array_equal(file["positions"][4], at(1, 8.0))


def test_without_its_checkpoint_the_start_is_one_sentence_that_names_it(refused):
    assert refused("load_model", START) == (
        f"error: {CHECKPOINT} cannot be read (no such file or directory): put or link a file"
        " there.\n"
    )
    assert f"{CHECKPOINT} is missing: put or link the network's file" in refused("check_switches")


def said_by(module, given):
    """What a command said that must succeed."""
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as said:
        patch.setattr(sys, "argv", [module, *given])
        with pytest.raises(SystemExit) as stop:
            command.run(importlib.import_module(module).main)
    assert not stop.value.code
    return said.getvalue()


@dataclass
class Made:
    """The whole pipeline's folder, what its stages said, and how often they opened each image."""

    folder: Path
    said: dict[str, str] = field(default_factory=dict)
    opened: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))


def counted(decode, opened):
    """Decodes as ever, and notes the image's name."""
    return lambda path, *more: opened.update([path.name]) or decode(path, *more)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    found = Made(tmp_path_factory.mktemp("berlin"))
    toy.write_params(found.folder, params())
    write_berlin(found.folder / "data/raw/berlin")
    decode = batches.decode
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(found.folder)
        write_start()
        for stage, *names in STAGES:
            patch.setattr(batches, "decode", counted(decode, found.opened[stage]))
            found.said[stage] = said_by(f"stages.{stage}", names)
    return found


@pytest.fixture
def inside(made, monkeypatch):
    monkeypatch.chdir(made.folder)
    return made


@pytest.mark.slow
def test_training_ends_after_five_epochs_and_keeps_the_last(inside):
    summary = json.loads(paths.TRAIN_METRICS.read_text())
    assert (summary["best_epoch"], summary["epochs"]) == (EPOCHS, EPOCHS)
    assert (summary["queries"], summary["queries_left_out"]) == (len(REFERENCES), 0)
    assert paths.TRAIN_LOG.read_text().count("\n") == 2 + EPOCHS  # header and start
    assert summary["val_best"]["rank_loss"] < summary["val_start"]["rank_loss"]


@pytest.mark.slow
def test_conv5_and_the_pool_have_learnt_and_nothing_below(inside):
    start, end = (read_model(paths.model(name)).state_dict() for name in (START, "trained"))
    changed = {name for name in start if not torch.equal(start[name], end[name])}
    assert changed == {
        *(f"backbone.{i}.{part}" for i in (24, 26, 28) for part in ("weight", "bias")),
        *("pool.conv.weight", "pool.centroids"),
    }


@pytest.mark.slow
def test_the_start_is_the_checkpoint_and_opens_no_image(inside):
    assert f"taken from {CHECKPOINT}" in inside.said["load_model"]
    assert not inside.opened["load_model"]
    found, port = read_model(paths.model(START)), twin("vgg16", 16, vladv2=False)
    assert torch.equal(found.pool.centroids, port.pool.centroids)


@pytest.mark.slow
def test_the_references_are_learnt_from_and_the_queries_only_validate(inside):
    opened = inside.opened["train"]
    validations = 1 + EPOCHS
    assert {opened[Path(name).name] for name in QUERIES} == {validations}
    # a tuple is a reference as query, one as positive and one as negative
    learnt = 3 * len(REFERENCES) * EPOCHS
    of_references = sum(opened[Path(name).name] for name in REFERENCES)
    assert of_references == learnt + validations * len(REFERENCES)


@pytest.fixture
def written(inside, tmp_path):
    """The predictions of the trained network in the form asked for."""

    def write(form):
        ask = ["--set", "berlin", "--variant", "trained", "--form", form]
        said_by("vprlib.cli.predictions", [*ask, "--out", str(tmp_path / "out")])
        return (tmp_path / "out").read_text()

    return write


def predicted():
    with h5py.File(paths.predictions(SET, "trained", "full")) as file:
        return file["indices"][:]


@pytest.mark.slow
def test_the_submission_has_the_required_form(written):
    submission = json.loads(written("submission"))
    assert list(submission) == ["Query"]
    assert [set(entry) for entry in submission["Query"]] == [{"id", "positive"}] * PLACES
    assert [entry["id"] for entry in submission["Query"]] == list(range(PLACES))
    best = [entry["positive"] for entry in submission["Query"]]
    assert best == predicted()[:, :20].tolist()
    for rows in best:
        assert len(rows) == len(set(rows)) == 20
        assert all(type(row) is int and 0 <= row < len(REFERENCES) for row in rows)


@pytest.mark.slow
def test_the_candidates_name_query_and_reference_in_the_order_of_the_mat(written):
    lines = written("candidates").splitlines()
    assert lines == [
        f"{query}, {REFERENCES[row]}"
        for query, rows in zip(QUERIES, predicted(), strict=True)
        for row in rows
    ]


@pytest.mark.slow
def test_places_are_found_again(inside):
    metrics = json.loads(paths.result_metrics("recall", SET, "trained", "full").read_text())
    assert (metrics["queries"], metrics["radius_m"]) == (PLACES, 50.0)
    first = predicted()[:, 0] // REFERENCES_A_PLACE
    assert metrics["recall@1"] == np.mean(first == np.arange(PLACES)) >= 0.75
