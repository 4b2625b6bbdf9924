"""What an edit reruns: a row of the README's table each, on a tiny city."""

import json
import re
import shutil
import time
from pathlib import Path

import pytest
import tiny
import toy

pytestmark = pytest.mark.slow

SIDES = ("extract_db", "extract_queries")


def described(dataset, *variants):
    return {f"{side}@{dataset}-{v}" for side in SIDES for v in variants}


BOTH = ("off_the_shelf", "trained")
TEST, VAL = "city_test", "city_val"  # the latter calibrates


def named(stage, *datasets, variants=BOTH, code="full"):
    return {f"{stage}@{d}-{v}-{code}" for d in datasets for v in variants}


def calibrated(*datasets, variants=BOTH, code="full"):
    """What hangs on other predictions of these sets, and on the thresholds that come from them."""
    found = {f"calibrate@{v}-{code}" for v in variants if VAL in datasets}
    return found | named(
        "diagnose", *((TEST, VAL) if found else datasets), variants=variants, code=code
    )


def searched(*datasets, variants=BOTH, code="full"):
    """From search on."""
    found = {s: named(s, *datasets, variants=variants, code=code) for s in ("search", "recall")}
    return found["search"] | found["recall"] | calibrated(*datasets, variants=variants, code=code)


def encoded(*variants, code):
    """What one more code makes of descriptors that are there."""
    own = {f"fit_code@{v}-{code}" for v in variants}
    own |= named("encode", TEST, VAL, variants=variants, code=code)
    return own | searched(TEST, VAL, variants=variants, code=code)


def below(*variants):
    """What another network brings about."""
    sides = described(TEST, *variants) | described(VAL, *variants)
    return sides | searched(TEST, VAL, variants=variants)


TRAIN = "train@city_train"
BELOW_INIT = below(*BOTH) | {"init_model@city_train", TRAIN}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The tiny city, run once with its default parameters."""
    project = tiny.Project(tmp_path_factory.mktemp("reruns") / "project")
    ran = project.repro()
    assert {"check_switches", "make_city@test", "parse_mat@city_val", TRAIN} <= ran
    return project


@pytest.fixture
def project(built):
    """Back at the defaults after each test, from the run cache alone."""
    yield built
    built.write(tiny.params())
    assert built.repro() == set()


def edited(project, change):
    tree = tiny.params()
    change(tree)
    project.write(tree)
    return project.repro()


def test_no_edit_runs_nothing(project):
    assert project.repro() == set()


def test_other_ns_run_recall_alone(project):
    ran = edited(project, lambda tree: tree["recall"].update(ns=[1, 2, 3]))
    assert ran == named("recall", TEST, VAL)


@pytest.mark.parametrize("change", [{"radius_m": 10.0}, {"protocol": "ranked"}])
def test_another_way_of_counting_searches_nothing(project, change):
    tree = tiny.params()
    tree["search"]["neighbors"] = "all"
    project.write(tree)
    project.repro()
    tree["datasets"][TEST].update(change)
    project.write(tree)
    assert project.repro() == named("recall", TEST) | calibrated(TEST)


AUDITS = {f"audit@{name}-city_train" for name in (TEST, VAL)}
CALIBRATION = {f"calibrate@{v}-full" for v in BOTH}
DIAGNOSES = named("diagnose", TEST, VAL)


@pytest.mark.parametrize(
    ("section", "change", "expected"),
    [
        ("audit", {"radius_m": 30.0}, AUDITS),
        ("audit", {"fatal": True}, AUDITS),
        ("failures", {"worst": 2, "heading_deg": [10.0]}, DIAGNOSES),
        ("confidence", {"score": "similarity"}, CALIBRATION | DIAGNOSES),
        ("confidence", {"precisions": [0.9, 0.8]}, CALIBRATION | DIAGNOSES),
        ("datasets.city_test", {"utm_zone": "17N"}, named("diagnose", TEST)),
        ("search", {"neighbors": 30}, named("search", TEST, VAL) | named("recall", TEST, VAL)),
        ("compare", {"seed": 2}, set()),
    ],
)
def test_evaluation_settings_describe_no_image(project, section, change, expected):
    def apply(tree):
        for key in section.split("."):
            tree = tree[key]
        tree.update(change)

    assert edited(project, apply) == expected


def test_other_intervals_describe_no_image(project):
    ran = edited(project, lambda tree: tree["interval"].update(level=0.9, location_m=2.0))
    assert ran == named("recall", TEST, VAL) | DIAGNOSES


def test_parts_of_the_city_leak_nothing(project):
    for name in (TEST, VAL):
        found = json.loads((project.folder / f"metrics/audit/{name}.json").read_text())
        assert found["leaks"] == 0 and found["with_train"]["nearest_m"] > 90_000


def test_a_leak_is_said_by_the_table_and_runs_nothing_else(project):
    """By a radius of 150 km, part val is near part train; part test is 200 km away."""
    ran = edited(project, lambda tree: tree["audit"].update(radius_m=150_000.0))
    assert ran == AUDITS
    assert "city_val: LEAK: 32 queries and 96 database images" in project.vpr("table")


def test_other_words_run_everything_below_the_sample(project):
    ran = edited(project, lambda tree: tree["kmeans"].update(seed=2))
    assert ran == BELOW_INIT | {"kmeans_centroids@city_train"}


def test_another_learning_rate_leaves_the_untrained_network_alone(project):
    ran = edited(project, lambda t: t["train"].update(learning_rate=3e-4))
    assert ran == {TRAIN} | below("trained")


def test_another_data_set_runs_its_own_stages(project):
    specifications = project.folder / "data/raw/city/datasets"
    shutil.copy(specifications / "city_test.mat", specifications / "more_test.mat")

    def change(tree):
        own = {"list": "datasets/more_test.mat"}
        tree["datasets"]["more_test"] = tree["datasets"]["city_test"] | own
        tree["eval_on"] = [TEST, VAL, "more_test"]

    own = described("more_test", *BOTH) | searched("more_test")
    own |= {"parse_mat@more_test", "audit@more_test-city_train"}
    assert edited(project, change) == own | {"check_switches"}


def test_another_variant_runs_its_own_stages(tmp_path):
    project = tiny.Project(tmp_path / "project")
    tree = tiny.params() | {"variants": ["off_the_shelf"]}
    tree["train"].update(epochs=0)
    project.write(tree)
    assert TRAIN not in project.repro("recall")  # the untrained network needs no training
    project.repro()
    project.write(tree | {"variants": list(BOTH)})
    assert project.repro() == below("trained") | {"check_switches"}


def test_a_network_from_elsewhere_needs_no_training_set(project):
    (project.folder / "data/raw/weights").mkdir(exist_ok=True)
    model = "artifacts/models/trained.safetensors"
    shutil.copy(project.folder / model, project.folder / "data/raw/weights/theirs")

    def change(tree):
        tree.update(init_on=[], train_on=[], variants=["theirs"])
        tree["networks"] = {"theirs": {"file": "theirs", "whitening": "keep"}}
        del tree["datasets"]["city_train"]
        del tree["city"]["parts"]["train"]

    own = {"check_switches", "load_model@theirs"} | below("theirs")
    assert edited(project, change) == own
    (project.folder / "data/raw/weights/theirs").unlink()


def test_changing_a_derived_variant_makes_that_one_alone(project):
    def derived(tree, fraction=0.5, numbers="float16"):
        small = [{"prune": {"fraction": fraction, "by": "magnitude"}}]
        tree["variant_defs"] = {"small": small, "half": [{"round": {"to": numbers}}]}
        return tree

    def written(tree, **derivations):
        tree |= {"variants": ["trained", *derivations], "derived": derivations}
        project.write(tree)
        return project.repro("recall")

    def own(variant):
        sides = described(TEST, variant) | described(VAL, variant) | {f"make_variant@{variant}"}
        return sides | {s for s in searched(TEST, VAL, variants=[variant]) if s[:2] in ("se", "re")}

    switch = {"check_switches"}
    assert written(derived(tiny.params()), small="trained", half="small") == (
        own("small") | own("half") | switch
    )
    changed = derived(tiny.params(), numbers="bfloat16")
    assert written(changed, small="trained", half="small") == own("half") | switch
    unused = derived(tiny.params(), fraction=0.25)
    assert written(unused) == switch  # no variant in use needs it


def test_another_code_runs_its_own_stages_and_reads_no_image(project):
    one = ["trained"]
    tree = tiny.params() | {"codes": ["full"], "variants": one, "fit_on": ["city_train"]}
    tree["code_defs"] |= {
        "w4": toy.code(4),
        "w8_int8": toy.code(8, precision="int8"),
        "w8_binary": toy.code(8, precision="binary", query="coded"),
    }
    first = {"extract_train@city_train-trained", "fit_whitening@city_train-trained"}
    for code in ("w4", "w8_int8", "w8_binary"):
        tree["codes"] = [*tree["codes"], code]
        tree["fitted"] = tree["codes"][1:]
        project.write(tree)
        assert project.repro() == encoded(*one, code=code) | first | {"check_switches"}
        first = set()
    tree["code_defs"]["w4"] = toy.code(4) | {"search": None}
    project.write(tree)
    assert project.repro() == set()


def test_other_light_describes_the_queries_again_and_not_the_database(project):
    night = {"day": 0.0, "dusk": 0.0, "night": 1.0}
    ran = edited(project, lambda t: t["city"]["parts"]["test"].update(query_light=night))
    queries = {f"extract_queries@city_test-{v}" for v in BOTH}
    drawn = {"make_city@test", "parse_mat@city_test", "audit@city_test-city_train"}
    assert ran == drawn | queries | searched(TEST)


def test_the_runtime_block_runs_nothing(project):
    change = {"device": "auto", "workers": 3, "threads": 2, "memory_gib": 0.5}
    assert edited(project, lambda tree: tree["runtime"].update(change)) == set()
    assert edited(project, lambda t: t["extraction"].update(unreadable="leave_out")) == set()


def test_descriptors_in_other_numbers_are_made_and_searched_again(project):
    assert edited(project, lambda t: t["extraction"].update(stored="float16")) == below(*BOTH)


JUDGED = named("recall", TEST, VAL) | CALIBRATION | DIAGNOSES
SETS = {"parse_mat@city_train", "parse_mat@city_val", "parse_mat@city_test"}
CITY = {"make_city@train", "make_city@val", "make_city@test"}
NETWORKS = {
    f"{s}@city_train" for s in ("sample_features", "kmeans_centroids", "init_model", "train")
}
DESCRIBED = described(TEST, *BOTH) | described(VAL, *BOTH)


@pytest.mark.parametrize(
    ("package", "expected"),
    [
        ("cli", set()),
        ("compress", {"check_switches"}),
        ("city", CITY),
        ("evaluate", AUDITS | JUDGED),
        ("search", {"check_switches"} | named("search", TEST, VAL) | JUDGED),
        ("descriptors", {"check_switches"} | named("search", TEST, VAL) | JUDGED),
        ("extract", DESCRIBED),
        ("train", NETWORKS),
        ("interop", {"check_switches"} | NETWORKS - {"sample_features@city_train", TRAIN}),
        ("formats", CITY | SETS | NETWORKS - {"sample_features@city_train", TRAIN}),
    ],
)
def test_an_edit_in_a_package_runs_the_stages_that_import_it(project, package, expected):
    """They write the same bytes again, so nothing below them runs."""
    path = project.folder / f"vprlib/{package}/__init__.py"
    before = path.read_text()
    path.write_text(before + "# an edit\n")
    try:
        assert project.repro() == expected
    finally:
        path.write_text(before)


def test_a_second_repro_at_the_same_time_is_refused(project):
    project.write(tiny.params() | {"recall": {"ns": [1, 4], "denominator": "all"}})
    first = project.start("repro")
    time.sleep(2.5)
    second = project.start("repro")
    said, _ = second.communicate()
    first.communicate()
    assert first.returncode == 0
    assert second.returncode != 0 and "Traceback" not in said
    assert "busy" in said or "Unable to acquire lock" in said, said


@pytest.fixture(scope="module")
def committed(built):
    """The same project with everything committed, as diffs and experiments need it."""
    built.git("add", "-A")
    built.git("commit", "-qm", "base")
    return built


def test_metrics_and_params_diff_name_what_changed(committed, project):
    edited(project, lambda tree: tree["recall"].update(ns=[1, 12]))
    assert "recall.ns" in project.dvc("params", "diff")
    assert "recall@12" in project.dvc("metrics", "diff")


def test_plots_and_dag_know_the_pipeline(committed, project):
    assert "train@city_train" in project.dvc("dag")
    page = project.dvc("plots", "diff").strip().removeprefix("file://")
    assert "recall" in Path(page).read_text()


def test_experiments_run_here_and_from_the_queue(committed, project):
    said = project.dvc("exp", "run", "-n", "here", "-S", "recall.ns=[1,3]")
    assert set(re.findall(r"Running stage '(.+)'", said)) == named("recall", TEST, VAL)
    project.git("checkout", "-q", ".")
    project.dvc("exp", "run", "--queue", "-n", "queued", "-S", "recall.ns=[1,7]")
    project.dvc("queue", "start", "-j", "1")
    for _ in range(120):
        status = project.dvc("queue", "status")
        if "Success" in status or "Failed" in status:
            break
        time.sleep(1)
    assert "Success" in status, status
    assert "recall@7" in project.dvc("metrics", "diff", "HEAD", "queued")
    said = project.vpr("compare", "HEAD:off_the_shelf", "here", "queued")
    assert "A  HEAD:off_the_shelf/full" in said and "C  queued:trained/full" in said
    assert "params.yaml: recall.ns" in said
