"""The stage that parses a set: other dialects end to end, reports, loud sentences."""

import json
import shutil

import h5py
import numpy as np
import pytest
import scipy.io
import toy
from staged import MAT, SET, TRAIN, edit_params

from vprlib.formats.specification import Layout
from vprlib.images.index import read_index
from vprlib.pipeline import paths
from vprlib.places.truth import read_listed

SPEC = toy.specification(name="toy_train")
DATABASE = list(SPEC.database_names)
QUERIES = [f"queries_real/{name}" for name in SPEC.query_names]


def edit_layout(here, **values):
    edit_params(here, f"datasets.{SET}", layout={**Layout().model_dump(), **values})


def write_lists(path):
    """The toy's places as matrices, without any position."""
    cells = {}
    for field, names in (("dbImageFns", DATABASE), ("qImageFns", SPEC.query_names)):
        cells[field] = np.array(names, dtype=object)[:, None]
    hard = np.repeat(np.eye(6, dtype=np.uint8), 2, axis=0)
    soft = hard | np.roll(hard, 1, axis=0)
    struct = {**cells, "numImages": 12, "numQueries": 6, "gtHard": hard, "gtSoft": soft}
    scipy.io.savemat(path, {"dbStruct": struct})
    return hard


def test_berlin_with_images_missing_gives_the_report_and_no_crash(here, refused, real_spec):
    shutil.copy(real_spec("berlin.mat"), here / MAT)
    edit_layout(here, queries_dir="")
    said = refused("parse_mat", SET)
    assert "314 of 314 database images and 280 of 280 query images are missing below" in said
    assert "Reference_resized/Image_(2).jpg, Reference_resized/Image_(3).jpg, " in said
    report = "artifacts/reports/toy_train_missing.txt"
    assert f"{report} lists them all" in said
    listed = (here / report).read_text().splitlines()
    assert len(listed) == 594 and listed[-1] == "Query_resized/seq2Image_280.jpg"


def test_a_csv_lists_a_set_in_degrees(here, run):
    spread = [0.0, 0.00005]
    rows = [f"{n},{48 + int(n[:3]) * 0.001},{12 + spread[i % 2]},database,{i}.5"
            for i, n in enumerate(DATABASE)]  # fmt: skip
    rows += [f"{n},{48 + int(n.split('/')[1]) * 0.001},12.0,query," for n in QUERIES]
    (here / "data/raw/toy/own.csv").write_text("\n".join(["path,lat,lon,role,heading", *rows]))
    layout = {**Layout().model_dump(), "positive_radius_m": 50.0}
    edit_params(here, f"datasets.{SET}", list="own.csv", layout=layout)
    said = run("parse_mat", SET)
    assert "12 database images, 6 queries at 6 positions, 0 without a positive at 50 m" in said
    database = read_index(paths.index(SET, "db"))
    assert database.extra["heading"].tolist() == [i + 0.5 for i in range(12)]
    steps = np.diff(database.positions[::2], axis=0)
    np.testing.assert_allclose(np.linalg.norm(steps, axis=1), 111.2, rtol=1e-3)


def test_a_list_as_truth_is_kept_and_trained_on(here, run):
    hard = write_lists(here / MAT)
    edit_layout(here, queries_dir="queries_real", ground_truth="hard")
    assert "0 without a positive on its list" in run("parse_mat", SET)
    found = json.loads(paths.metrics("sets", SET).read_text())
    assert found["positive_radius_m"] is None and found["mean_positives"] == 2.0
    listed = read_listed(paths.index(SET, "queries"), 12)
    assert listed.is_right(np.tile(np.arange(12), (6, 1))).T.tolist() == (hard == 1).tolist()
    for stage in ("sample_features", "kmeans_centroids", "init_model"):
        run(stage, SET)
    run("train", *TRAIN)
    assert paths.model("trained").exists()


def test_what_is_odd_is_counted_and_said(here, run):
    folder = here / "data/raw/toy"
    (folder / DATABASE[1]).rename((folder / DATABASE[1]).with_suffix(".PNG"))
    shutil.copy(folder / DATABASE[0], folder / QUERIES[5])
    shutil.copy(folder / DATABASE[2], folder / DATABASE[3])
    said = run("parse_mat", SET)
    assert said.rstrip().endswith(
        "1 under another suffix on disk, 1 database images that are copies, 1 queries also in the"
        " database; WARNING: 1 queries are byte for byte a database image with another"
        " position: are names and positions in the same order?"
    )
    found = json.loads(paths.metrics("sets", SET).read_text())
    counted = ("renamed", "database_duplicates", "queries_in_database", "out_of_step")
    assert [found[name] for name in counted] == [1, 1, 1, 1]
    with h5py.File(paths.index(SET, "db")) as file:
        assert file["names"].asstr()[1].endswith(".PNG")


def test_a_set_without_oddities_says_none(here, run):
    said = run("parse_mat", SET)
    assert said.rstrip().endswith("chance recall@1 0.1667")


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"ground_truth": "both"}, "layout.ground_truth is 'both'"),
        ({"positive_radius_m": 0}, "layout.positive_radius_m is 0"),
        ({"ground_thruth": "hard"}, "layout has no 'ground_thruth'; did you mean 'ground_truth'?"),
    ],
)
def test_a_layout_that_makes_no_sense_is_refused(here, refused, values, sentence):
    edit_layout(here, **values)
    assert sentence in refused("parse_mat", SET)
