"""Berlin as it is ready in params.yaml: its layout, its recipe, and the submission at the end."""

import importlib
import io
import json
import re
import shlex
import shutil
import sys
from collections import Counter, defaultdict
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import toy
from test_contract import block
from test_port import checkpoint, twin
from test_ready import switched

from vprlib.images import batches
from vprlib.model.model import read_model
from vprlib.pipeline import command

PLACES, REFERENCES_A_PLACE, EPOCHS = 8, 3, 5
SIZE = (64, 48)  # of pictures
START = Path("data/raw/weights/heaputil_k16.pth.tar")
MODELS = {
    name: Path(f"artifacts/models/{name}.safetensors") for name in ("off_the_shelf", "trained")
}
# the .mat's order is not that of letters; a place's references stand side by side
REFERENCES = [
    f"Reference_resized/Image_({n}).jpg" for n in range(2, 2 + PLACES * REFERENCES_A_PLACE)
]
QUERIES = [f"Query_resized/seq2Image_{n}.jpg" for n in range(4, 4 + PLACES)]
CORNER = np.array([383_697.196480341, 5_817_547.097])


def at(place, metres):
    return CORNER + np.array([120.0 * place + metres, 0.0])  # other places are beyond 50 m


def params():
    """The switches of `ready.berlin`, and nothing else changed but where it runs."""
    tree = switched("berlin")
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


def write_start(clusters):
    """A checkpoint as the port itself would have saved it."""
    START.parent.mkdir(parents=True, exist_ok=True)
    torch.save(checkpoint(twin("vgg16", clusters, vladv2=False)), START)


def arguments(stage, **names):
    """What dvc.yaml would call the stage with."""
    tree = params() | names
    written = re.sub(
        r"\$\{([\w.]+)\}",
        lambda found: str(reduce(dict.__getitem__, found[1].split("."), tree)),
        block(stage)["cmd"],
    )
    return shlex.split(written)[3:]  # without python -m stages.<stage>


def runs():
    """Every stage but the city's, in order, once for each of its names."""
    tree = params()
    variants = tree["variants"]
    evaluated = [{"item": {"dataset": "berlin", "variant": v, "code": "full"}} for v in variants]
    a_variant = [{"item": v} for v in variants]
    yield "check_switches", [{}]
    yield "parse_mat", [{"key": name, "item": place} for name, place in tree["sets"].items()]
    yield "fingerprint", [{"key": name, "item": place} for name, place in tree["sets"].items()]
    for stage in ("sample_features", "kmeans_centroids", "init_model", "train"):
        yield stage, [{}]
    for stage in ("extract_train", "fit_whitening"):
        yield stage, a_variant
    yield "fit_code", [{"item": {"variant": v, "code": "full"}} for v in variants]
    yield "audit", [{"item": "berlin"}]
    described = ("extract_db", "extract_queries", "encode", "build_index")
    for stage in (*described, "recall", "failures"):
        yield stage, evaluated
    yield "calibrate", evaluated
    yield "confidence", evaluated


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with params.yaml and the set, but no start; the test runs inside it."""
    monkeypatch.chdir(tmp_path)
    toy.write_params(tmp_path, params())
    write_berlin(Path("data/raw/berlin"))
    return tmp_path


@pytest.fixture
def run(here, monkeypatch, capsys):
    """Exit code and what was said by a stage, as dvc.yaml calls it."""
    return lambda stage, **names: toy.run_command(
        f"stages.{stage}", arguments(stage, **names), monkeypatch, capsys
    )


def parse_train(run):
    return run("parse_mat", key="berlin_train", item=params()["sets"]["berlin_train"])


def test_the_layout_is_parsed_with_its_fifty_metres(run):
    code, said = parse_train(run)
    assert code == 0
    assert "24 database images, 8 queries at 8 positions, 0 without a positive at 50 m" in said
    with h5py.File("data/index/berlin_train/db.h5") as file:
        assert file["names"].asstr()[:].tolist() == REFERENCES
        assert np.array_equal(file["positions"][4], at(1, 8.0))


def test_no_image_is_looked_at_for_words_that_the_start_brings(run):
    parse_train(run)
    shutil.rmtree("data/raw/berlin/Reference_resized")
    taken = "since the model starts from heaputil_k16.pth.tar"
    assert run("sample_features") == (0, f"sample: none needed, {taken}\n")
    code, said = run("kmeans_centroids")
    assert code == 0 and said.startswith("k-means: no words needed")


def test_without_its_checkpoint_the_start_is_one_sentence_that_names_it(run):
    code, said = run("init_model")
    assert code == 1
    assert said == (
        f"error: {START} cannot be read (no such file or directory): put or link a file there.\n"
    )


def test_a_checkpoint_of_another_k_is_one_sentence_that_names_k_and_clusters(run):
    write_start(64)
    code, said = run("init_model")
    assert code == 1 and not MODELS["off_the_shelf"].exists()
    assert said == (
        f"error: the start {START} has K=64, but kmeans.clusters is 16: set it to 64 in"
        " params.yaml, or take another model.start.\n"
    )


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
        write_start(16)
        for stage, calls in runs():
            patch.setattr(batches, "decode", counted(decode, found.opened[stage]))
            for names in calls:
                found.said[stage] = said_by(f"stages.{stage}", arguments(stage, **names))
    return found


@pytest.fixture
def inside(made, monkeypatch):
    monkeypatch.chdir(made.folder)
    return made


@pytest.mark.slow
def test_training_ends_after_five_epochs_and_keeps_the_last(inside):
    summary = json.loads(Path("metrics/train.json").read_text())
    assert (summary["best_epoch"], summary["epochs"]) == (EPOCHS, EPOCHS)
    assert (summary["queries"], summary["queries_left_out"]) == (len(REFERENCES), 0)
    assert Path("metrics/train.csv").read_text().count("\n") == 2 + EPOCHS  # header and start
    assert summary["val_best"]["rank_loss"] < summary["val_start"]["rank_loss"]


@pytest.mark.slow
def test_conv5_and_the_pool_have_learnt_and_nothing_below(inside):
    start, end = (read_model(path).state_dict() for path in MODELS.values())
    changed = {name for name in start if not torch.equal(start[name], end[name])}
    assert changed == {
        *(f"backbone.{i}.{part}" for i in (24, 26, 28) for part in ("weight", "bias")),
        *("pool.conv.weight", "pool.centroids"),
    }


@pytest.mark.slow
def test_the_start_is_the_checkpoint_and_opens_no_image(inside):
    assert f"taken from {START}" in inside.said["init_model"]
    for stage in ("sample_features", "kmeans_centroids", "init_model"):
        assert not inside.opened[stage]
    found, port = read_model(MODELS["off_the_shelf"]), twin("vgg16", 16, vladv2=False)
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
    with h5py.File("artifacts/predictions/berlin/trained-full.h5") as file:
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
    metrics = json.loads(Path("metrics/recall/berlin/trained-full.json").read_text())
    assert (metrics["queries"], metrics["radius_m"]) == (PLACES, 50.0)
    first = predicted()[:, 0] // REFERENCES_A_PLACE
    assert metrics["recall@1"] == np.mean(first == np.arange(PLACES)) >= 0.75
