"""What an edit reruns: a row of the README's table each, on a tiny city."""

import json
import shutil

import pytest
import tiny
from reruns import (
    AUDITS,
    BELOW_INIT,
    BOTH,
    CALIBRATION,
    DIAGNOSES,
    TEST,
    TRAIN,
    VAL,
    below,
    calibrated,
    described,
    edited,
    named,
    searched,
)

pytestmark = pytest.mark.slow


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


def test_a_student_learns_again_when_its_teacher_changes(project):
    """The teacher's file is a dependency of training where there is a teacher, and only there."""
    weights = project.folder / "data/raw/weights"
    weights.mkdir(exist_ok=True)
    models = [project.folder / f"artifacts/models/{name}.safetensors" for name in BOTH]
    shutil.copy(models[1], weights / "teacher")
    shared = ("first_layer", "precision", "keep", "patience", "validate_every", "seed")

    def change(tree):
        tree["networks"] = {"teacher": {"file": "teacher", "whitening": "keep"}}
        own = {"kind": "distil", "teacher": "teacher", "epochs": 1, "images_a_batch": 8}
        own["schedule"] = {"kind": "steps"}
        tree["train"] = own | {key: tree["train"][key] for key in shared}

    learnt = {TRAIN, "load_model@teacher"} | below("trained")
    assert edited(project, change) == learnt | {"check_switches"}
    assert project.repro() == set()
    shutil.copy(models[0], weights / "teacher")
    assert project.repro() == learnt
    (weights / "teacher").unlink()


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


def test_other_light_describes_the_queries_again_and_not_the_database(project):
    night = {"day": 0.0, "dusk": 0.0, "night": 1.0}
    ran = edited(project, lambda t: t["city"]["parts"]["test"].update(query_light=night))
    queries = {f"extract_queries@city_test-{v}" for v in BOTH}
    drawn = {"make_city@test", "parse_mat@city_test", "audit@city_test-city_train"}
    assert ran == drawn | queries | searched(TEST)


def test_a_second_look_is_taken_at_its_own_sets_and_describes_none_again(project):
    tree = tiny.params() | {"rerank_on": [TEST]}
    tree["rerank"].update(keypoints=100, short_side=[64, 64], top=5)

    def ran():
        project.write(tree)
        return project.repro()

    judged = named("second_look", TEST)
    compared = named("rerank", TEST) | judged
    assert ran() == compared | {"check_switches", "keypoints@city_test"}
    tree["confidence"].update(precisions=[0.85, 0.7])  # which no other test ran
    assert ran() == judged | CALIBRATION | DIAGNOSES
    tree["recall"].update(ns=[1, 3, 4])
    assert ran() == judged | named("recall", TEST, VAL)
    tree["rerank"].update(top=4)
    assert ran() == compared
    tree["rerank"].update(keypoints=90)
    assert ran() == compared | {"keypoints@city_test"}
    tree["runtime"].update(threads=2, memory_gib=0.5)
    assert ran() == set()


def test_the_runtime_block_runs_nothing(project):
    change = {"device": "auto", "workers": 3, "threads": 2, "memory_gib": 0.5}
    assert edited(project, lambda tree: tree["runtime"].update(change)) == set()
    assert edited(project, lambda t: t["extraction"].update(unreadable="leave_out")) == set()


def test_descriptors_in_other_numbers_are_made_and_searched_again(project):
    assert edited(project, lambda t: t["extraction"].update(stored="float16")) == below(*BOTH)
