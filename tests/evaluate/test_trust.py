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

from stages import fingerprint, parse_mat
from vprlib.compress.settings import words_of_training
from vprlib.descriptors import files
from vprlib.evaluate.leaks import AuditSettings
from vprlib.pipeline import artifacts
from vprlib.search.faiss_index import write_no_index

SETS = ("toy_train", "toy_val", "toy_test")
FAR_M = 10_000.0  # between sets
VERDICT = "artifacts/audit/toy_test.txt"


def at(dataset, name):
    return f"data/index/{dataset}/{name}.h5"


AUDIT = {
    "recipe": "toy",
    "dataset": "toy_test",
    "evaluated": at("toy_test", "fingerprints"),
    "train": at("toy_train", "fingerprints"),
    "val": at("toy_val", "fingerprints"),
    "sample": "artifacts/features/sample.h5",
    "codes": "data/index/codes.txt",
    "variants": "data/index/variants.txt",
    "metrics_out": "metrics/audit/toy_test.json",
    "verdict_out": VERDICT,
}


def params():
    tree = toy.params()
    tree["sets"] = {n: {"folder": "toy", "file": f"datasets/{n}.mat"} for n in SETS}
    tree["datasets"]["toy_test"] = tree["datasets"]["city_test"]
    tree["eval_on"], tree["calibrate_on"] = ["toy_test", "toy_val"], "toy_val"
    return tree


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Three sets of the toy that share no picture, as they lie below data/raw."""
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
        parse(name)
    os.chdir(before)
    return folder


@pytest.fixture
def here(made, tmp_path, monkeypatch):
    shutil.copytree(made, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    names = [f"000/toy_train_{i}.jpg" for i in range(2)]
    artifacts.write_hdf5(Path(AUDIT["sample"]), {"image_names": names})
    artifacts.write_text(Path(AUDIT["codes"]), files.words(False))
    artifacts.write_text(Path(AUDIT["variants"]), words_of_training(["trained"]))
    return tmp_path / "here"


@pytest.fixture
def run(here, monkeypatch, capsys):
    """Exit code and what a stage said."""
    return lambda stage, options: toy.run_stage(stage, monkeypatch, capsys, **options)


def parse(name):
    """A set that lies below data/raw, and what its images look like."""
    raw = Path("data/raw/toy")
    db, queries, prints = (Path(at(name, part)) for part in ("db", "queries", "fingerprints"))
    outputs = {"db_out": db, "queries_out": queries, "metrics_out": Path("m.json")}
    mat, reports = raw / f"datasets/{name}.mat", Path("reports")
    parse_mat.main(dataset=name, mat=mat, images=raw, reports=reports, **outputs)
    fingerprint.main(dataset=name, db=db, queries=queries, images=raw, out=prints)


def plant(source, target, change=lambda image: image, **options):
    raw = Path("data/raw/toy")
    change(Image.open(raw / source)).save(raw / target, **options)


TRAINED = "000/toy_train_0.jpg"
ASKED = "queries_real/203/toy_test_q3.jpg"


def test_sets_that_share_nothing_have_no_leak(run):
    assert run("audit", AUDIT) == (
        0,
        "audit of toy_test: nothing of toy_test leaks from toy_train\n",
    )
    assert Path(VERDICT).read_text() == "\n"
    told = json.loads(Path(AUDIT["metrics_out"]).read_text())
    assert told["leaks"] == 0 and told["with_train"]["nearest_m"] == pytest.approx(19_850, abs=10)
    assert told["words"] == {"images": 2, "evaluated_same": 0, "evaluated_alike": 0}
    before = [Path(AUDIT[name]).read_bytes() for name in ("metrics_out", "verdict_out")]
    run("audit", AUDIT)
    assert before == [Path(AUDIT[name]).read_bytes() for name in ("metrics_out", "verdict_out")]


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
            lambda: shutil.copy(Path("data/raw/toy") / TRAINED, Path("data/raw/toy") / ASKED),
            "1 queries of toy_test are also in toy_train",
        ),
        (lambda: copied(ASKED), "1 queries of toy_test are copied in toy_train"),
        (
            lambda: copied("200/toy_test_1.jpg"),
            "1 database images of toy_test are copied in toy_train",
        ),
    ],
)
def test_a_planted_image_is_said_beside_recall_and_can_be_fatal(run, here, planted, said):
    planted()
    parse("toy_test")
    told = f"LEAK: {said}; the words were fitted on 1 images of toy_test"
    assert run("audit", AUDIT) == (0, f"audit of toy_test: {told}\n")
    assert Path(VERDICT).read_text() == f"{told}\n"
    tree = params()
    tree["audit"]["fatal"] = True
    toy.write_params(here, tree)
    Path(VERDICT).unlink()
    assert run("audit", AUDIT) == (
        1,
        f"error: {told}; audit.fatal forbids it: take these out of the sets, or set audit.fatal to"
        " false.\n",
    )
    assert not Path(VERDICT).exists()


def test_a_leak_is_said_at_the_end_of_the_line_of_recall(run):
    artifacts.write_text(Path(VERDICT), "LEAK: it does\n")
    code, said = recall(run, "toy_test", seed=1)
    assert code == 0 and said.endswith("; LEAK: it does\n")


def test_an_image_that_changed_since_is_refused(run):
    copied(ASKED)
    options = {"dataset": "toy_test", "db": at("toy_test", "db"), "images": "data/raw/toy"}
    options |= {"queries": at("toy_test", "queries"), "out": "x.h5"}
    code, said = run("fingerprint", options)
    assert code == 1 and said.startswith("error: ") and "since the set was parsed" in said
    assert not Path("x.h5").exists()


def recall(run, dataset, seed, noise=0.4):
    """Searches descriptors that tell places apart somewhat."""
    generator = np.random.default_rng(seed)
    places = generator.normal(size=(6, 8))
    folder = Path(f"artifacts/descriptors/{dataset}")
    for side, rows in (("db", np.repeat(np.arange(6), 2)), ("queries", np.arange(6))):
        vectors = places[rows] + noise * generator.normal(size=(len(rows), 8))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        artifacts.write_hdf5(folder / f"{side}.h5", {"descriptors": vectors.astype(np.float32)})
    artifacts.write_hdf5(folder / "full.h5", {})
    write_no_index(folder / "full")
    if not Path(f"artifacts/audit/{dataset}.txt").exists():
        artifacts.write_text(Path(f"artifacts/audit/{dataset}.txt"), "\n")
    return run(
        "recall",
        {
            "dataset": dataset,
            "variant": "trained",
            "code": "full",
            "db_index": at(dataset, "db"),
            "queries_index": at(dataset, "queries"),
            "db": folder / "db.h5",
            "queries": folder / "queries.h5",
            "coded": folder / "full.h5",
            "search_index": folder / "full",
            "verdict": f"artifacts/audit/{dataset}.txt",
            "predictions_out": f"artifacts/predictions/{dataset}.h5",
            "metrics_out": f"metrics/recall/{dataset}.json",
            "curve_out": "c.csv",
            "plot_out": "p.png",
        },
    )


def inputs(dataset):
    return {
        "variant": "trained",
        "code": "full",
        "db_index": at(dataset, "db"),
        "queries_index": at(dataset, "queries"),
        "predictions": f"artifacts/predictions/{dataset}.h5",
    }


FAILURES = {
    "dataset": "toy_test",
    **inputs("toy_test"),
    "raw": "data/raw",
    "metrics_out": "metrics/failures.json",
    "rows_out": "failures.csv",
    "map_out": "failures.geojson",
    "plan_out": "plan.png",
    "worst_out": "worst.png",
}
OUTPUTS = [FAILURES[name] for name in FAILURES if name.endswith("_out")]


def test_failures_add_up_and_are_the_same_each_time(run, here):
    recall(run, "toy_test", seed=2, noise=1.5)
    code, said = run("failures", FAILURES)
    assert code == 0 and said.startswith("toy_test, trained, full: correct ")
    assert "; no map: datasets.toy_test.utm_zone is null" in said
    told = json.loads(Path(FAILURES["metrics_out"]).read_text())
    assert sum(told["shares"].values()) == pytest.approx(1.0)
    recalled = json.loads(Path("metrics/recall/toy_test.json").read_text())
    assert told["shares"]["correct"] == recalled["recall@1"]
    with Path(FAILURES["rows_out"]).open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    assert [row["category"] for row in rows].count("correct") == 6 * recalled["recall@1"]
    before = [Path(name).read_bytes() for name in OUTPUTS]
    run("failures", FAILURES)
    assert before == [Path(name).read_bytes() for name in OUTPUTS]
    tree = params()
    tree["datasets"]["toy_test"] = tree["datasets"]["toy_test"] | {"utm_zone": "17N"}
    toy.write_params(here, tree)
    code, said = run("failures", FAILURES)
    assert code == 0 and "no map" not in said
    found = json.loads(Path(FAILURES["map_out"]).read_text())["features"][0]
    longitude, latitude = found["geometry"]["coordinates"]
    assert -81 < longitude < -80 and 39 < latitude < 40


def test_a_wrong_zone_is_one_sentence(run, here):
    tree = params()
    tree["datasets"]["toy_test"] = tree["datasets"]["toy_test"] | {"utm_zone": "99N"}
    toy.write_params(here, tree)
    code, said = run("failures", FAILURES)
    assert code == 1 and "params.yaml: datasets.toy_test.utm_zone is '99N'" in said
    assert said.count("\n") == 1


def test_thresholds_come_from_one_set_and_are_told_of_another(run):
    for seed, name in enumerate(("toy_val", "toy_test")):
        recall(run, name, seed, noise=0.7)
    code, said = run("calibrate", {**inputs("toy_val"), "out": "calibration.json"})
    assert code == 0 and said.startswith("trained, full: ratio on toy_val: 100 %")
    outputs = {"metrics_out": "m.json", "curve_out": "curve.csv", "plot_out": "precision.png"}
    for name, how in (
        ("toy_test", "calibrated on toy_val: "),
        ("toy_val", "calibrated on toy_val itself, which"),
    ):
        code, said = run(
            "confidence",
            {"dataset": name, **inputs(name), "calibration": "calibration.json", **outputs},
        )
        assert code == 0 and how in said
    told = json.loads(Path("m.json").read_text())
    assert told["calibrated_on"] == "toy_val" and 0 < told["area"] <= 1
    for asked, found in told["at_threshold"].items():
        assert found["threshold"] is None or found["precision"] >= float(asked) / 100
    header, *curve = Path("curve.csv").read_text().splitlines()
    assert header == "recall,precision,threshold" and 1 <= len(curve) <= 6
    assert Image.open("precision.png").size == (720, 504)


def test_a_score_near_chance_names_its_cause(run):
    code, said = recall(run, "toy_test", seed=4, noise=50.0)
    assert code == 0 and "; HARDLY BETTER THAN CHANCE, likely because: " in said


def test_the_settings_of_the_audit_are_checked():
    with pytest.raises(ValueError, match="greater than 0"):
        AuditSettings(radius_m=0)
    with pytest.raises(ValueError, match="fatal should be true or false"):
        AuditSettings(fatal="no")
