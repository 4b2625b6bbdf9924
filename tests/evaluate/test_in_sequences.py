"""The stage `recall` for queries of a video: by the frames around each, and never unsaid."""

import json
from dataclasses import replace

import h5py
import numpy as np
import pytest
import toy
from staged import edit_params

from vprlib.pipeline import artifacts, paths
from vprlib.search.request import SearchRequest, collect
from vprlib.search.sequences import SequenceSettings, along_folders

SET = "toy_train"
NAMES = (SET, "trained", "full")
METRICS = paths.result_metrics("recall", *NAMES)


def write_drive(folder, at=lambda number: 0):
    spec = toy.specification(name=SET)
    database = [f"{at(i):03d}/{SET}_{i:03d}.jpg" for i in range(12)]
    queries = [f"{at(i):03d}/{SET}_q{i:03d}.jpg" for i in range(6)]
    toy.write_set(
        folder / "data/raw", SET, replace(spec, database_names=database, query_names=queries)
    )


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A drive, twice as fast as the database's, whose places look alike; it is described."""
    monkeypatch.chdir(tmp_path)
    toy.write_params(tmp_path, toy.params())
    write_drive(tmp_path)
    generator = np.random.default_rng(1)
    looks = np.repeat(np.eye(8)[[0, 1, 0, 2, 1, 2]], 2, axis=0)
    for side, rows in (("db", looks), ("queries", looks[::2])):
        vectors = rows + 0.05 * generator.normal(size=rows.shape)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        path = paths.descriptors(*NAMES, side)
        artifacts.write_hdf5(path, {"descriptors": vectors.astype(np.float32)})
    return tmp_path


def sequence(here, frames=5, speeds=(2.0, 2.0)):
    edit_params(here, "recall", sequence={"frames": frames, "speeds": list(speeds)})


def test_recall_counts_what_sequences_find_and_says_so(here, run):
    run("parse_mat", SET)
    run("search", *NAMES)
    said = run("recall", *NAMES)
    alone = json.loads(METRICS.read_text())
    assert "sequence" not in said and "sequence_frames" not in alone
    sequence(here)
    said = run("recall", *NAMES)
    found = json.loads(METRICS.read_text())
    assert said.startswith("toy_train, trained, full, plain, sequences of 5 frames: 6 queries")
    assert found["sequence_frames"] == 5
    assert alone["recall@1"] < 0.9 and found["recall@1"] == 1
    with h5py.File(paths.predictions(*NAMES)) as file:
        rows, distances, frames = file["indices"][:], file["distances"][:], file.attrs["frames"]
    assert frames == 5
    queries, database = (
        h5py.File(paths.descriptors(*NAMES, side))["descriptors"][:] for side in ("queries", "db")
    )
    near = collect(
        along_folders(SequenceSettings(frames=5, speeds=(2, 2)), ["a"] * 6, ["b"] * 12),
        SearchRequest(queries, database, 12, 2**28, 1),
    )
    np.testing.assert_array_equal(rows[:, :12], near.rows)
    np.testing.assert_array_equal(distances[:, :12], near.distances)


def test_thresholds_know_of_the_frames_that_they_are_for(here, run):
    for frames in (1, 3):
        sequence(here, frames)
        run("parse_mat", SET)
        run("search", *NAMES)
        run("recall", *NAMES)
        run("calibrate", *NAMES)
        made = json.loads(paths.calibration("trained", "full").read_text())
        assert made["frames"] == frames


def test_an_unread_query_is_still_a_miss_and_an_unread_image_is_never_found(here, run):
    run("parse_mat", SET)
    for side, row in (("db", 4), ("queries", 2)):
        with h5py.File(paths.descriptors(*NAMES, side), "a") as file:
            file["failed"] = np.arange(len(file["descriptors"])) == row
            file["descriptors"][row] = 0
    sequence(here)
    run("search", *NAMES)
    run("recall", *NAMES)
    with h5py.File(paths.predictions(*NAMES)) as file:
        rows = file["indices"][:]
    assert (rows[2] == -1).all() and not (rows == 4).any()
    assert json.loads(METRICS.read_text())["queries_left_out"] == 1


def test_a_protocol_that_knows_no_order_is_one_sentence(here, run, refused):
    run("parse_mat", SET)
    run("search", *NAMES)
    tree = toy.params()
    tree["recall"]["sequence"]["frames"] = 3
    tree["datasets"][SET]["protocol"] = "ranked"
    toy.write_params(here, tree)
    assert (
        "recall.sequence.frames is 3, but toy_train has protocol ranked, which does not order"
        " images by time: set frames to 1, or the protocol to plain." in refused("recall", *NAMES)
    )


def test_an_approximate_index_is_one_sentence(here, run, refused):
    run("parse_mat", SET)
    run("search", *NAMES)
    with h5py.File(paths.neighbors(*NAMES), "a") as file:
        file.attrs["is_exact"] = False
    sequence(here)
    assert "this code has an approximate index" in refused("recall", *NAMES)


def test_a_set_without_sequences_is_one_sentence(here, run, refused):
    write_drive(here, at=lambda number: number)
    run("parse_mat", SET)
    run("search", *NAMES)
    sequence(here)
    said = refused("recall", *NAMES)
    assert "sequences of 5 frames need images of one folder in a row, but no two queries" in said


@pytest.mark.parametrize(
    ("frames", "speeds", "problem"),
    [
        (4, (1, 1), "frames should be odd"),
        (3, (1.2, 1), "speeds should rise"),
        (3, (1,), "sequence.speeds"),
    ],
)
def test_bad_settings_are_one_sentence(here, refused, frames, speeds, problem):
    sequence(here, frames, speeds)
    assert problem in refused("recall", *NAMES)
