"""The stages that say what a number is worth, on a toy set: leaks, failures, confidence."""

import csv
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import toy
from PIL import Image, ImageEnhance

from stages import parse_mat
from vprlib.evaluate.leaks import AuditSettings
from vprlib.pipeline import artifacts, paths

SETS = ("toy_train", "toy_val", "toy_test")
FAR_M = 10_000.0  # between sets
AUDIT = ("toy_test", "toy_train", "toy_val")
METRICS = paths.metrics("audit", "toy_test")
RAW = paths.RAW / "toy"


def params():
    switches = {"eval_on": ["toy_test", "toy_val"], "variants": ["trained"]}
    return toy.params() | switches | {"datasets": {name: toy.dataset(name) for name in SETS}}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Three sets of the toy that share no picture, parsed."""
    folder = tmp_path_factory.mktemp("made")
    toy.write_params(folder, params())
    for number, name in enumerate(SETS):
        spec = toy.specification(name=name)
        away = np.array([FAR_M * number, 0.0])
        spec = replace(
            spec,
            database_names=[f"{100 * number + i // 2:03d}/{name}_{i}.jpg" for i in range(12)],
            query_names=[f"{100 * number + i:03d}/{name}_q{i}.jpg" for i in range(6)],
            database_positions=spec.database_positions + away,
            query_positions=spec.query_positions + away,
        )
        toy.write_set(folder / "data/raw", name, spec)
    before = Path.cwd()
    os.chdir(folder)
    for name in SETS:
        parse_mat.main(name)
    os.chdir(before)
    return folder


@pytest.fixture
def here(made_here):
    return made_here


def plant(source, target, change=lambda image: image, **options):
    change(Image.open(RAW / source)).save(RAW / target, **options)


TRAINED = "000/toy_train_0.jpg"
ASKED = "queries_real/203/toy_test_q3.jpg"


def test_sets_that_share_nothing_have_no_leak(here, run):
    said = run("audit", *AUDIT)
    assert said == "audit of toy_test: nothing of toy_test leaks from toy_train\n"
    told = json.loads(METRICS.read_text())
    assert (told["leaks"], told["said"]) == (0, [])
    assert told["with_train"]["nearest_m"] == pytest.approx(19_850, abs=10)
    before = METRICS.read_bytes()
    run("audit", *AUDIT)
    assert METRICS.read_bytes() == before


def copied(target):
    plant(
        TRAINED,
        target,
        lambda image: ImageEnhance.Brightness(image.resize((100, 80))).enhance(1.1),
        quality=60,
    )


@pytest.mark.parametrize(
    ("planted", "said"),
    [
        (
            lambda: shutil.copy(RAW / TRAINED, RAW / ASKED),
            "1 queries of toy_test are also in toy_train",
        ),
        (lambda: copied(ASKED), "1 queries of toy_test are copied in toy_train"),
        (
            lambda: copied("200/toy_test_1.jpg"),
            "1 database images of toy_test are copied in toy_train",
        ),
    ],
)
def test_a_planted_image_is_said_and_can_be_fatal(here, run, refused, planted, said):
    planted()
    run("parse_mat", "toy_test")
    assert run("audit", *AUDIT) == f"audit of toy_test: LEAK: {said}\n"
    assert json.loads(METRICS.read_text())["said"] == [said]
    tree = params()
    tree["audit"]["fatal"] = True
    toy.write_params(here, tree)
    METRICS.unlink()
    assert refused("audit", *AUDIT) == (
        f"error: LEAK: {said}; audit.fatal forbids it: take these out of the sets, or set"
        " audit.fatal to false.\n"
    )


def recall(run, dataset, seed, noise=0.4):
    """Searches descriptors that tell places apart somewhat."""
    generator = np.random.default_rng(seed)
    places = generator.normal(size=(6, 8))
    for side, rows in (("db", np.repeat(np.arange(6), 2)), ("queries", np.arange(6))):
        vectors = places[rows] + noise * generator.normal(size=(len(rows), 8))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        path = paths.descriptors(*trained(dataset), side)
        artifacts.write_hdf5(path, {"descriptors": vectors.astype(np.float32)})
    run("search", *trained(dataset))
    return run("recall", *trained(dataset))


def trained(dataset):
    return dataset, "trained", "full"


TEST = trained("toy_test")


def diagnose(run):
    """Of the test set, with thresholds from the validation set; gives what was said."""
    recall(run, "toy_val", seed=3)
    run("calibrate", *trained("toy_val"))
    return run("diagnose", *TEST)


def test_failures_add_up_and_are_the_same_each_time(here, run):
    recall(run, "toy_test", seed=2, noise=1.5)
    said = diagnose(run)
    assert said.startswith("toy_test, trained, full: correct ")
    assert "; no map: datasets.toy_test.utm_zone is null\n" in said
    told = json.loads(paths.result_metrics("failures", *TEST).read_text())
    assert sum(told["shares"].values()) == pytest.approx(1.0)
    recalled = json.loads(paths.result_metrics("recall", *TEST).read_text())
    assert told["shares"]["correct"] == recalled["recall@1"]
    with paths.failures(*TEST, "csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    assert [row["category"] for row in rows].count("correct") == 6 * recalled["recall@1"]
    outputs = [paths.failures(*TEST, "csv"), paths.failures(*TEST, "geojson")]
    outputs += [paths.result_metrics("failures", *TEST), paths.result_metrics("confidence", *TEST)]
    outputs += [paths.plot(*TEST, what) for what in ("-plan", "-worst", "-precision")]
    before = [path.read_bytes() for path in outputs]
    run("diagnose", *TEST)
    assert before == [path.read_bytes() for path in outputs]
    use_zone(here, "17N")
    assert "no map" not in run("diagnose", *TEST)
    found = json.loads(paths.failures(*TEST, "geojson").read_text())["features"][0]
    longitude, latitude = found["geometry"]["coordinates"]
    assert -81 < longitude < -80 and 39 < latitude < 40


def use_zone(here, zone):
    tree = params()
    tree["datasets"]["toy_test"]["utm_zone"] = zone
    toy.write_params(here, tree)


def test_a_wrong_zone_is_one_sentence(here, refused):
    use_zone(here, "99N")
    assert "params.yaml: datasets.toy_test.utm_zone is '99N'" in refused("diagnose", *TEST)


def test_thresholds_come_from_one_set_and_are_told_of_another(here, run):
    for seed, name in enumerate(("toy_val", "toy_test")):
        recall(run, name, seed, noise=0.7)
    said = run("calibrate", *trained("toy_val"))
    assert said.startswith("trained, full: ratio on toy_val: 100 %")
    for name, how in (
        ("toy_test", "calibrated on toy_val: "),
        ("toy_val", "calibrated on toy_val itself, which"),
    ):
        assert how in run("diagnose", *trained(name))
        told = json.loads(paths.result_metrics("confidence", *trained(name)).read_text())
        assert told["calibrated_on"] == "toy_val" and 0 < told["area"] <= 1
    for asked, found in told["at_threshold"].items():
        assert found["threshold"] is None or found["precision"] >= float(asked) / 100
    header, *curve = paths.confidence_curve(*trained("toy_val")).read_text().splitlines()
    assert header == "recall,precision,threshold" and 1 <= len(curve) <= 6
    assert Image.open(paths.plot(*TEST, "-precision")).size == (720, 504)


def test_a_score_near_chance_names_its_cause(here, run):
    said = recall(run, "toy_test", seed=4, noise=50.0)
    assert "; HARDLY BETTER THAN CHANCE, likely because: " in said


def test_the_settings_of_the_audit_are_checked():
    with pytest.raises(ValueError, match="greater than 0"):
        AuditSettings(radius_m=0)
    with pytest.raises(ValueError, match="fatal should be true or false"):
        AuditSettings(fatal="no")
