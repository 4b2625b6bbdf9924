"""Images that could not be read: nobody finds them, they shift nothing, and it is said."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import toy
from staged import (
    EXTRACT,
    FULL,
    SET,
    TRAIN,
    VARIANT,
    VECTORS,
    describe_sides,
    edit_params,
    fit_and_encode,
    search_and_recall,
    to_model,
    use_codes,
)
from vectors import unit

from vprlib.descriptors.codes import encode, read_code
from vprlib.descriptors.files import failed_rows, opened_sample
from vprlib.descriptors.rows import RowSubset
from vprlib.descriptors.whitening import fit
from vprlib.evaluate.protocols import average_precision, measure
from vprlib.evaluate.recall import RecallSettings
from vprlib.pipeline import paths
from vprlib.pipeline.artifacts import write_hdf5
from vprlib.pipeline.params import UserError
from vprlib.places.truth import Near

UNREAD = [4, 6]  # queries
ABSENT = np.array([0, 3, 4, 17, 40])


@pytest.fixture
def holed():
    """7 queries, the fifth and the last of them unread; 4 panoramas with five unread tiles."""
    database, queries = unit(48, seed=2), unit(7)
    database[ABSENT], queries[UNREAD] = 0, 0
    draw = np.random.default_rng(3)
    places = draw.uniform(0, 60, (4, 2)).repeat(12, axis=0)
    truth = Near(draw.uniform(0, 60, (7, 2)), places, 25.0)
    return queries, database, truth


@pytest.mark.parametrize("protocol", ["plain", "tokyo247", "ranked"])
def test_ranking_equals_a_loop_that_skips_what_is_not_there(holed, ranked, protocol):
    queries, database, truth = holed
    found = ranked(protocol, *holed, 4, UNREAD, ABSENT)
    for q, query in enumerate(queries):
        kept, seen = [], set()
        for row in np.argsort(((database - query) ** 2).sum(axis=1), kind="stable").tolist():
            label = row // 12 if protocol == "tokyo247" else row
            if row not in ABSENT and label not in seen and q not in UNREAD:
                seen.add(label)
                kept.append(row)
        assert found.rows[q].tolist() == (kept[:4] or [-1] * 4)
        if protocol == "ranked":
            padded = np.array([[*kept, *[-1] * (48 - len(kept))]])
            right = truth.take(slice(q, q + 1)).is_right(np.maximum(padded, 0)) & (padded >= 0)
            expected = average_precision(right, truth.counts()[q : q + 1])
            np.testing.assert_allclose(found.precisions[q], expected[0], atol=1e-12)
    plain = ranked(protocol, *holed, 4)
    assert (plain.rows != found.rows).any()


def test_an_unread_query_counts_as_wrong_and_both_sides_are_said(holed, ranked):
    truth, settings = holed[2], RecallSettings(ns=(1, 48))
    result = measure("plain", ranked("plain", *holed, 48, UNREAD, ABSENT), truth, settings)
    assert not result.right[UNREAD].any() and result.metrics["queries"] == 7
    is_found = [truth.counts()[q] > 0 and q not in UNREAD for q in range(7)]
    assert result.metrics["recall@48"] == pytest.approx(np.mean(is_found))
    assert result.metrics["queries_left_out"] == 2 and result.metrics["database_left_out"] == 5
    assert "; 2 queries could not be read and count as wrong" in result.sentence()
    assert "; 5 database images could not be read and are never found" in result.sentence()
    whole = measure("plain", ranked("plain", *holed, 48), truth, settings)
    assert "left_out" not in str(whole.metrics) and "could not be" not in whole.sentence()


def test_what_has_no_descriptor_has_no_code_and_float16_is_read(tmp_path, fitted, runtime):
    code = read_code(fitted(unit(50, 16), whiten=6))
    vectors = unit(30, 16, seed=2).astype(np.float16)
    failed = np.arange(30) == 7
    vectors[failed] = 0
    write_hdf5(tmp_path / "db.h5", {"descriptors": vectors, "failed": failed})
    assert failed_rows(tmp_path / "db.h5").tolist() == [7]
    small = runtime.model_copy(update={"memory_gib": 5e-6})  # some rows at a time
    encode(tmp_path / "c.h5", code, "db", tmp_path / "db.h5", small)
    expected = code.apply(vectors.astype(np.float32))
    expected[7] = 0
    with h5py.File(tmp_path / "c.h5") as file:
        np.testing.assert_allclose(file["descriptors"][:], expected, atol=1e-6)


@pytest.mark.parametrize("precision", ["int8", "pq", "binary"])
def test_rounded_codes_are_learnt_from_what_has_a_descriptor_and_are_zeros_elsewhere(
    tmp_path, fitted, runtime, precision
):
    """A failed image of a real file would be zeros; here it would show in whatever it touches."""
    sample, failed = unit(300, 16), np.arange(300) == 299
    settings = {"whiten": 8, "precision": precision, "bytes": 4 if precision == "pq" else None}
    spoilt = np.where(failed[:, None], 100, sample)
    whole = fitted(sample[:299], **settings)
    other = fitted(spoilt, name="spoilt", failed=failed, **settings)
    assert whole.read_bytes() == other.read_bytes()
    code = read_code(other)
    encode(tmp_path / "c.h5", code, "db", tmp_path / "sample.h5", runtime)
    with h5py.File(tmp_path / "c.h5") as file:
        codes = file["descriptors"][:]
    expected = code.quantiser("db", 16).encode(code.apply(sample[:299]))
    np.testing.assert_array_equal(codes, np.concatenate([expected, np.zeros_like(expected[:1])]))


def test_some_rows_of_a_file_are_as_the_array_of_them(tmp_path):
    vectors, rows = unit(20, 8), np.array([1, 2, 5, 11, 19])
    write_hdf5(tmp_path / "x.h5", {"descriptors": vectors})
    with h5py.File(tmp_path / "x.h5") as file:
        some = RowSubset(file["descriptors"], rows)
        assert some.shape == (5, 8)
        for part in (slice(0, 5), slice(1, 3), slice(4, 9), slice(5, 5)):
            np.testing.assert_array_equal(some[part], vectors[rows][part])
            np.testing.assert_array_equal(some[part, 2:6], vectors[rows][part, 2:6])


def test_whitening_is_fitted_on_what_was_read(tmp_path: Path):
    vectors, failed = unit(20, 8), np.arange(20) % 5 == 0
    origin = {"set": "toy_train", "variant": "trained"}
    write_hdf5(tmp_path / "s.h5", {"descriptors": vectors, "failed": failed}, origin)
    with opened_sample(tmp_path / "s.h5") as (sample, about):
        found = fit(sample, 4, 2**20, 1)
    assert about == {**origin, "descriptors": 16}
    expected = fit(vectors[~failed], 4, 2**20, 1)
    np.testing.assert_array_equal(found.projection, expected.projection)
    write_hdf5(tmp_path / "s.h5", {"descriptors": vectors, "failed": failed | True}, origin)
    with pytest.raises(UserError, match="no image could be read"), opened_sample(tmp_path / "s.h5"):
        pass


def test_a_set_with_unread_images_goes_through_all_stages(here, run, refused):
    use_codes(here, run, ["full", "w4"])
    to_model(run)
    for name in ("001/toy_train_002.jpg", "queries_real/003/toy_train_q003.jpg"):
        (here / "data/raw/toy" / name).write_bytes(b"")
    said = refused("extract_db", *EXTRACT)
    assert "1 of 12 images" in said and "001/toy_train_002.jpg is empty (zero bytes)" in said
    tree = toy.yaml.safe_load((here / "params.yaml").read_text())
    tree["extraction"].update(unreadable="leave_out", stored="float16")
    toy.write_params(here, tree)
    assert "1 images could not be read" in run("extract_db", *EXTRACT)
    describe_sides(run)
    assert "12 of 12 database images: 12 descriptors" in run("extract_train", *EXTRACT)
    assert "of 11 descriptors of toy_train" in run("fit_whitening", VARIANT)
    fit_and_encode(run, "w4")
    (here / "data/raw/toy").rename(here / "away")  # from here on no image is needed
    assert "1 queries could not be read and count as wrong" in search_and_recall(run, "w4")
    names = (SET, VARIANT, "w4")
    metrics = json.loads(paths.result_metrics("recall", *names).read_text())
    assert (metrics["queries_left_out"], metrics["database_left_out"]) == (1, 1)
    assert metrics["recall@20"] == 5 / 6
    with h5py.File(paths.predictions(*names)) as file:
        assert (file["indices"][3] == -1).all() and 2 not in file["indices"][:]
        assert sorted(file["indices"][0].tolist()) == [-1, 0, 1, *range(3, 12)]


def test_images_that_never_could_be_read_are_left_out_from_the_beginning(here, run, refused):
    to_model(run)  # while all are there
    folder = here / "data/raw/toy"
    (folder / "000/toy_train_000.jpg").write_bytes(b"none")
    (folder / "queries_real/002/toy_train_q002.jpg").unlink()
    assert "are missing below data/raw/toy" in refused("parse_mat", SET)
    edit_params(here, "extraction", unreadable="leave_out")
    said = run("parse_mat", SET)
    assert ", 2 images that cannot be read (artifacts/reports/toy_train_missing.txt)" in said
    assert "copies" not in said and "suffix" not in said
    listed = (here / "artifacts/reports/toy_train_missing.txt").read_text().splitlines()
    assert listed == ["000/toy_train_000.jpg", "queries_real/002/toy_train_q002.jpg"]
    assert json.loads(paths.metrics("sets", SET).read_text())["unreadable"] == 2
    said = refused("train", *TRAIN)
    assert ": replace it, and run `dvc repro -f -s parse_mat@toy_train`" in said
    describe_sides(run)
    assert "1 queries could not be read and count as wrong" in search_and_recall(run)
    folder.rename(here / "away")
    edit_params(here, "datasets.toy_train", radius_m=31.0)  # judged anew without an image
    assert "recall@" in run("recall", *FULL)
    with h5py.File(VECTORS["db"]) as file:
        assert np.flatnonzero(file["failed"][:]).tolist() == [0]
    (here / "away").rename(folder)
    for path in folder.rglob("toy_train_q*.jpg"):
        path.unlink()
    edit_params(here, "extraction", unreadable="leave_out")
    assert "6 of 6 query images are missing" in refused("parse_mat", SET)


def test_settings_of_extraction_that_cannot_be_are_refused(here, refused):
    for change, problem in (
        ({"stored": "float8"}, "extraction.stored is 'float8'"),
        ({"unreadable": "skip"}, "extraction.unreadable is 'skip'"),
        ({"shards": 2}, "extraction has no 'shards'"),
    ):
        edit_params(here, "extraction", **change)
        assert problem in refused("extract_db", *EXTRACT)
