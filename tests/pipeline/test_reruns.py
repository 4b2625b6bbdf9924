"""What an edit reruns: a row of the README's table each, on a tiny city."""

import json
import re
import shutil
import subprocess
import sys
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


def judged(*datasets, variants=BOTH, code="full"):
    """What hangs on other predictions of these sets."""
    found = {f"calibrate@{v}-{code}" for v in variants if VAL in datasets}
    confident = (TEST, VAL) if found else datasets
    for stage, where in (("failures", datasets), ("confidence", confident)):
        found |= named(stage, *where, variants=variants, code=code)
    return found


def recalled(*datasets, variants=BOTH, code="full"):
    """From encoding to recall."""
    stages = ("encode", "build_index", "recall")
    return set().union(*(named(s, *datasets, variants=variants, code=code) for s in stages))


def encoded(*datasets, variants=BOTH, code="full"):
    """Encoding and what hangs on it."""
    own = recalled(*datasets, variants=variants, code=code)
    return own | judged(*datasets, variants=variants, code=code)


def fitted(*variants, code="full"):
    """What is learnt for a code, once for all sets."""
    return {f"fit_code@{v}-{code}" for v in variants}


def below(*variants):
    """What another network brings about, where no code in use is fitted."""
    sampled = {f"extract_train@{v}" for v in variants}  # says that there is nothing to do
    sampled |= described(TEST, *variants) | described(VAL, *variants)
    return sampled | encoded(TEST, VAL, variants=variants)


BELOW_INIT = below(*BOTH) | {"init_model", "train"}


EDITED = ("search", "leaks", "confidence", "assembly", "table")  # modules, further below
WATCHED = tuple(f"vprlib/{name}.py" for name in EDITED)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The tiny city, run once with its default parameters."""
    project = tiny.Project(tmp_path_factory.mktemp("reruns") / "project", WATCHED)
    ran = project.repro()
    assert {"check_switches", "make_city@test", "parse_mat@city_val", "train"} <= ran
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
def test_another_way_of_counting_runs_recall_and_what_reads_its_predictions(project, change):
    ran = edited(project, lambda tree: tree["datasets"][TEST].update(change))
    assert ran == named("recall", TEST) | judged(TEST)


AUDITS = {f"audit@{name}" for name in (TEST, VAL)}
CALIBRATION = {f"calibrate@{v}-full" for v in BOTH}
FAILURES, CONFIDENCE = named("failures", TEST, VAL), named("confidence", TEST, VAL)


@pytest.mark.parametrize(
    ("section", "change", "expected"),
    [
        ("audit", {"radius_m": 30.0}, AUDITS),  # the verdict is the same
        ("audit", {"alike_bits": 10}, AUDITS),
        ("audit", {"fatal": True}, AUDITS),
        ("failures", {"near_miss": 3.0}, FAILURES),
        ("failures", {"worst": 2, "heading_deg": [10.0]}, FAILURES),
        ("confidence", {"score": "similarity"}, CALIBRATION | CONFIDENCE),
        ("confidence", {"precisions": [0.9, 0.8]}, CALIBRATION | CONFIDENCE),
        ("datasets.city_test", {"utm_zone": "17N"}, named("failures", TEST)),
    ],
)
def test_what_says_how_far_to_trust_a_number_describes_no_image(project, section, change, expected):
    def apply(tree):
        for key in section.split("."):
            tree = tree[key]
        tree.update(change)

    assert edited(project, apply) == expected


def test_other_intervals_describe_no_image_and_other_draws_run_nothing(project):
    ran = edited(project, lambda tree: tree["interval"].update(level=0.9, location_m=2.0))
    assert ran == named("recall", TEST, VAL) | FAILURES | CONFIDENCE
    project.write(tiny.params())
    project.repro()
    assert edited(project, lambda tree: tree["compare"].update(seed=2)) == set()


def test_parts_of_the_city_leak_nothing(project):
    for name in (TEST, VAL):
        assert (project.folder / f"artifacts/audit/{name}.txt").read_text() == "\n"
        found = json.loads((project.folder / f"metrics/audit/{name}.json").read_text())
        assert found["leaks"] == 0 and found["with_train"]["nearest_m"] > 90_000


def test_a_leak_reaches_recall_and_nothing_else(project):
    """Places 100 km apart are near one another by a radius of 150 km."""
    ran = edited(project, lambda tree: tree["audit"].update(radius_m=150_000.0))
    assert AUDITS | named("recall", VAL) <= ran <= AUDITS | named("recall", TEST, VAL)


def test_other_words_run_everything_below_the_sample(project):
    ran = edited(project, lambda tree: tree["recipes"]["city"]["kmeans"].update(seed=2))
    assert ran == BELOW_INIT | {"kmeans_centroids"}


def test_another_learning_rate_leaves_the_untrained_network_alone(project):
    ran = edited(project, lambda t: t["recipes"]["city"]["train"].update(learning_rate=3e-4))
    assert ran == {"train"} | below("trained")


def test_another_data_set_runs_its_own_stages(project):
    specifications = project.folder / "data/raw/city/datasets"
    shutil.copy(specifications / "city_test.mat", specifications / "more_test.mat")

    def change(tree):
        tree["sets"]["more_test"] = {"folder": "city", "file": "datasets/more_test.mat"}
        tree["datasets"]["more_test"] = tree["datasets"]["city_test"]
        tree["eval_on"] = [TEST, VAL, "more_test"]

    own = described("more_test", *BOTH) | encoded("more_test")
    own |= {f"{stage}@more_test" for stage in ("parse_mat", "fingerprint", "audit")}
    assert edited(project, change) == own | {"check_switches"}


def test_another_variant_runs_its_own_stages(tmp_path):
    project = tiny.Project(tmp_path / "project", watched=())
    tree = tiny.params() | {"variants": ["off_the_shelf"]}
    tree["recipes"]["city"]["train"].update(epochs=0)
    project.write(tree)
    assert "train" not in project.repro("recall")  # the untrained network needs no training
    project.repro()
    project.write(tree | {"variants": list(BOTH)})
    own = below("trained") | {"fit_whitening@trained"} | AUDITS  # a trained network can leak
    own |= fitted("trained")
    assert project.repro() == own | {"check_switches"}


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
        made = {f"{stage}@{variant}" for stage in ("make_variant", "extract_train")}
        found = made | described(TEST, variant) | described(VAL, variant)
        return found | recalled(TEST, VAL, variants=[variant])

    switch = {"check_switches"}
    fitting = {f"fit_whitening@{v}" for v in ("small", "half")} | fitted("small", "half")
    every = own("small") | own("half") | switch | fitting
    assert written(derived(tiny.params()), small="trained", half="small") == every
    changed = derived(tiny.params(), numbers="bfloat16")
    assert written(changed, small="trained", half="small") == own("half") | switch
    unused = derived(tiny.params(), fraction=0.25)
    assert written(unused) == switch  # no variant in use needs it


def test_another_code_runs_its_own_stages_and_reads_no_image(project):
    one = ["trained"]
    tree = tiny.params() | {"codes": ["full", "w4"], "variants": one}
    tree["code_defs"] |= {
        "w4": toy.code(4),
        "w8_int8": toy.code(8, precision="int8"),
        "w8_binary": toy.code(8, precision="binary", query="coded"),
    }
    project.write(tree)
    first = {"extract_train@trained", "fit_whitening@trained"} | AUDITS  # of what codes learn from
    marked = fitted(*one)  # a marker, written again
    own = recalled(TEST, VAL, variants=one, code="w4") | fitted(*one, code="w4")
    assert project.repro("recall") == own | marked | first | {"check_switches"}
    for code in ("w8_int8", "w8_binary"):
        tree["codes"] = [*tree["codes"], code]
        project.write(tree)
        own = recalled(TEST, VAL, variants=one, code=code) | fitted(*one, code=code)
        assert project.repro("recall") == own | {"check_switches"}


def test_other_light_describes_the_queries_again_and_not_the_database(project):
    night = {"day": 0.0, "dusk": 0.0, "night": 1.0}
    ran = edited(project, lambda t: t["city"]["parts"]["test"].update(query_light=night))
    queries = {f"extract_queries@city_test-{v}" for v in BOTH}
    drawn = {"make_city@test", "parse_mat@city_test", "fingerprint@city_test", "audit@city_test"}
    # an index is of the database alone
    assert ran == drawn | queries | encoded(TEST) - named("build_index", TEST)


def test_the_runtime_block_runs_nothing(project):
    change = {"device": "auto", "workers": 3, "threads": 2, "memory_gib": 0.5}
    assert edited(project, lambda tree: tree["runtime"].update(change)) == set()
    assert edited(project, lambda t: t["extraction"].update(unreadable="leave_out")) == set()


def test_descriptors_in_other_numbers_are_made_and_searched_again(project):
    assert edited(project, lambda t: t["extraction"].update(stored="float16")) == below(*BOTH)


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (
            "search",
            {"check_switches", "train"}
            | named("build_index", TEST, VAL)
            | named("recall", TEST, VAL)
            | judged(TEST, VAL),
        ),
        ("leaks", AUDITS),
        ("confidence", CALIBRATION | CONFIDENCE),
        ("assembly", {"init_model"}),
        ("table", set()),
    ],
)
def test_an_edit_in_the_library_runs_the_stages_that_import_it(project, module, expected):
    assert module in EDITED
    path = project.folder / f"vprlib/{module}.py"
    old = path.read_text()
    path.write_text(old + "\n# an edit\n")
    try:
        assert project.repro() == expected
    finally:
        path.write_text(old)


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
    assert "| train |" in project.dvc("dag")
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
    said = subprocess.run(
        [sys.executable, "-m", "vprlib.cli", "compare", "HEAD:off_the_shelf", "here", "queued"],
        cwd=project.folder,
        capture_output=True,
        text=True,
    )
    assert said.returncode == 0, said.stderr
    assert "A  HEAD:off_the_shelf/full" in said.stdout and "C  queued:trained/full" in said.stdout
    assert "params.yaml: recall.ns" in said.stdout
