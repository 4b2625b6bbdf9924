"""Predictions in the forms that other programs read."""

import csv
import io
import json
import shutil
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pytest
import toy
from vectors import pairs

from vprlib.cli.predictions import HEADER
from vprlib.evaluate.predictions import read_predictions
from vprlib.images.index import write_index
from vprlib.pipeline.artifacts import write_hdf5
from vprlib.places.truth import Listed, listed_arrays

HERE = Path("artifacts/predictions/toy_val/trained-full.h5")
ASK = ["--set", "toy_val", "--variant", "trained", "--out", "out.txt"]


@pytest.fixture
def write(tmp_path, monkeypatch, index_at):
    """Writes both indices and predictions where the command looks for them."""
    monkeypatch.chdir(tmp_path)
    toy.write_params(tmp_path, toy.params())

    def make(rows, positions=None, right=None):
        rows = np.array(rows)
        size = max(30, rows.max() + 1)
        at = [(10.0 * i, 0.5) for i in range(size)] if positions is None else positions
        folder = Path("data/index/toy_val")
        write_index(folder / "db.h5", index_at(at))
        write_index(
            folder / "queries.h5", index_at(np.array(at)[: len(rows)] + np.array([3.0, 4.0]))
        )
        distances = np.where(rows < 0, np.inf, np.arange(rows.shape[1]) / 8).astype(np.float32)
        hits = np.zeros(rows.shape, bool) if right is None else np.array(right)
        write_hdf5(HERE, {"indices": rows, "distances": distances, "hits": hits})

    return make


@pytest.fixture
def ask(vpr):
    return partial(vpr, "predictions", *ASK)


@pytest.fixture
def refused(ask):
    def run(*more):
        said = toy.refusal(*ask(*more))
        assert not Path("out.txt").exists()
        return said

    return run


def some(queries=4, columns=20):
    draw = np.random.default_rng(1)
    return np.array([draw.permutation(30)[:columns] for _ in range(queries)])


def test_the_csv_by_hand(write, ask):
    write([[2, 0, -1], [1, -1, -1]], right=[[False, True, False], [True, False, False]])
    code, said = ask()
    assert (code, said) == (0, "out.txt: 2 queries of toy_val, trained, full, as csv\n")
    assert Path("out.txt").read_text() == (
        "query,rank,database,distance,easting,northing,metres,right\n"
        "000.jpg,1,002.jpg,0.000000,20.0,0.5,17.464,0\n"  # √(17² + 4²)
        "000.jpg,2,000.jpg,0.125000,0.0,0.5,5.000,1\n"
        "001.jpg,1,001.jpg,0.000000,10.0,0.5,5.000,1\n"
    )


def test_positions_survive_the_csv_to_the_last_bit(write, ask):
    places = np.random.default_rng(2).uniform(4e5, 5e6, (30, 2))
    rows = some()
    write(rows, places)
    ask("--form", "csv")
    found = list(csv.DictReader(io.StringIO(Path("out.txt").read_text())))
    assert tuple(found[0]) == HEADER
    for line, row in zip(found, rows.ravel().tolist(), strict=True):
        assert (float(line["easting"]), float(line["northing"])) == tuple(places[row])


def test_where_positions_are_unknown_the_csv_is_empty_there(write, ask):
    write([[2, 0]], np.full((30, 2), np.nan), [[True, False]])
    ask()
    assert Path("out.txt").read_text().splitlines()[1] == "000.jpg,1,002.jpg,0.000000,,,,1"


def test_the_submission_is_in_the_form_of_the_class_challenge(write, ask):
    rows = some(columns=25)
    write(rows)
    assert ask("--form", "submission")[0] == 0
    assert json.loads(Path("out.txt").read_text()) == {
        "Query": [{"id": i, "positive": row[:20].tolist()} for i, row in enumerate(rows)]
    }


@pytest.mark.parametrize("left", [19, 0])
def test_a_submission_of_fewer_than_twenty_is_refused(write, refused, left):
    rows = some()
    rows[2, left:] = -1
    write(rows)
    assert f"but query 2 (002.jpg) has {left}: the database" in refused("--form", "submission")
    write(some(columns=12))
    assert "but query 0 (000.jpg) has 12" in refused("--form", "submission")


def test_candidates_are_a_line_a_pair(write, ask):
    write([[2, 0], [1, -1]])
    assert ask("--form", "candidates")[0] == 0
    text = "000.jpg, 002.jpg\n000.jpg, 000.jpg\n001.jpg, 001.jpg\n"
    assert Path("out.txt").read_text() == text


def test_candidates_may_have_absolute_paths(write, ask, tmp_path):
    write([[2]])
    assert ask("--form", "candidates", "--absolute", "data/raw")[0] == 0
    folder = tmp_path / "data/raw/toy"
    assert Path("out.txt").read_text() == f"{folder}/000.jpg, {folder}/002.jpg\n"


def test_a_comma_that_would_tear_a_line_is_refused(write, refused):
    write([[2]])
    with h5py.File("data/index/toy_val/db.h5", "r+") as file:
        file["names"][2] = "Unter den Linden, 1.jpg"
    said = refused("--form", "candidates")
    assert "'Unter den Linden, 1.jpg' has a comma or a line break" in said


def test_absolute_paths_of_another_form_are_refused(write, refused):
    write([[2]])
    assert "--absolute needs --form candidates, but the form is csv" in refused("--absolute", ".")


@pytest.mark.parametrize("gone", [HERE, Path("data/index/toy_val/queries.h5")])
def test_what_is_missing_is_named_with_the_command(write, refused, gone):
    write([[2]])
    gone.unlink()
    assert f"{gone} is missing: check that set" in refused()


def test_predictions_of_another_set_are_refused(write, refused, index_at):
    write(some(queries=4))
    kept = HERE.read_bytes()
    write(some(queries=5))
    HERE.write_bytes(kept)
    assert "has 4 queries" in refused() and "holds 5 queries and 30 database" in refused()
    write(some())
    write_index(Path("data/index/toy_val/db.h5"), index_at([(0, 0)] * 7))
    assert "database rows up to 29" in refused()


def test_a_set_whose_truth_is_listed_can_be_written_too(write, ask, index_at):
    write(some())
    none = pairs(*[[]] * 4)
    index = index_at(np.full((4, 2), np.nan))
    write_index(
        Path("data/index/toy_val/queries.h5"),
        index,
        {},
        listed_arrays(Listed(none, none, none, 30)),
    )
    assert ask("--form", "csv")[0] == 0
    assert len(read_predictions(HERE, Path("data/index/toy_val")).pairs()) == 4 * 20


def test_paths_can_be_given(write, ask):
    write(some())
    shutil.move("data/index", "indices")
    shutil.move("artifacts/predictions", "found")
    assert ask("--predictions", "found", "--index", "indices")[0] == 0
