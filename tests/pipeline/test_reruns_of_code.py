"""What edits of code rerun, and what DVC's own commands say of the pipeline."""

import re
import time
from pathlib import Path

import pytest
import tiny
import toy
from reruns import (
    AUDITS,
    CITY,
    DESCRIBED,
    JUDGED,
    NETWORKS,
    SETS,
    TEST,
    TRAIN,
    VAL,
    edited,
    encoded,
    named,
)

pytestmark = pytest.mark.slow


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
        ("verify", set()),  # unless a set gets a second look
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
