"""The page's data equals the metrics; nothing foreign is overwritten; pictures are made once."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import reported
import toy
import yaml
from reported import RUNS, SET, registered, unpacked

from vprlib.cli.report.context import changes, context, stages, training
from vprlib.cli.report.results import merged, right_rows
from vprlib.cli.report.thumbnails import Album, chosen
from vprlib.evaluate.failures import CATEGORIES, outcomes, right_answer
from vprlib.evaluate.predictions import read_judgement
from vprlib.images.index import ImageIndex, read_index, write_index
from vprlib.pipeline import paths
from vprlib.pipeline.artifacts import write_hdf5, write_json
from vprlib.pipeline.params import UserError, read_params_file

PAGE = toy.ROOT / "vprlib/cli/report/page"


@pytest.fixture
def page(drawn_here, vpr):
    """The folder of a page that was just made."""
    code, said = vpr("report")
    assert code == 0, said
    assert said.startswith("artifacts/report/index.html: 4 runs on 1 set, ")
    return drawn_here / paths.PAGE


def metrics(kind, run):
    return json.loads(paths.result_metrics(kind, SET, *run).read_text())


def answers(page, number):
    return registered(page / f"data/run-{number}.js")


def test_outcomes_are_those_of_diagnose(page):
    for number, run in enumerate(RUNS):
        found = unpacked(answers(page, number)["category"])
        shares = metrics("failures", run)["shares"]
        assert {name: (found == n).mean() for n, name in enumerate(CATEGORIES)} == shares
    assert len(set(found.tolist())) >= 4


def test_filters_are_the_slices_of_diagnose(page):
    facts = registered(page / "data/set-0.js")["facts"]
    assert [fact["name"] for fact in facts] == [
        "light", "heading_difference_deg", "nearest_database_m",
    ]  # fmt: skip
    slices = metrics("failures", RUNS[0])["slices"]
    is_correct = unpacked(answers(page, 0)["category"]) == CATEGORIES.index("correct")
    for fact in facts:
        of = unpacked(fact["of"])
        for number, label in enumerate(fact["labels"]):
            here = slices[fact["name"]][label]
            assert here["queries"] == (of == number).sum()
            assert here["recall@1"] == is_correct[of == number].mean()


def test_scores_answer_as_often_as_the_metrics_say(page):
    summary = registered(page / "data/summary.js")
    for number, run in enumerate(RUNS):
        found = answers(page, number)
        scores, hits = (
            unpacked(found["scores"]),
            unpacked(found["hits"]).reshape(len(scores_of(found)), -1),
        )
        for percent, at in metrics("confidence", run)["at_threshold"].items():
            assert summary["runs"][number]["thresholds"][percent] == at["threshold"]
            given = scores >= at["threshold"]
            assert given.sum() == at["answered"]
            assert hits[given, 0].mean() == at["precision"]


def scores_of(found):
    return unpacked(found["scores"])


def test_metrics_are_copied_whole(page):
    for number, run in enumerate(registered(page / "data/summary.js")["runs"]):
        assert run["metrics"] == metrics("recall", RUNS[number])


def test_differences_are_those_of_compare(page, vpr):
    pairs = registered(page / "data/summary.js")["differences"]
    assert len(pairs) == 6
    for pair in pairs:
        names = ["/".join(RUNS[pair[side]]) for side in ("from", "to")]
        told = json.loads(vpr("compare", *names, "--json")[1])["pairs"][0]["differences"]
        assert pair["at"] == {name.split("@")[1]: found for name, found in told.items()}


@pytest.fixture
def with_old(drawn_here, vpr):
    """What is said, and the summary of a page with the runs of a branch."""
    reported.with_history()
    code, said = vpr("report", "--with", "old", "--pictures", 0)
    assert code == 0, said
    return said, registered(paths.PAGE / "data/summary.js")


def test_other_revisions_are_compared_as_by_the_command(with_old, vpr):
    said, summary = with_old
    assert "8 runs on 1 set" in said
    names = [run["name"] for run in summary["runs"]]
    assert names == [f"{side}{'/'.join(run)}" for side in ("", "old:") for run in RUNS]
    for one, other in (("old:trained/full", "trained/full"), ("trained/w128", "old:trained/full")):
        told = json.loads(vpr("compare", one, other, "--json")[1])["pairs"][0]
        ends = [names.index(one), names.index(other)]
        pair = next(p for p in summary["differences"] if {p["from"], p["to"]} == {*ends})
        sign = 1 if pair["from"] == ends[0] else -1
        for name, found in told["differences"].items():
            shown = pair["at"][name.split("@")[1]]
            assert shown["p"] == found["p"] and shown["both_wrong"] == found["both_wrong"]
            assert shown["gained" if sign > 0 else "lost"] == found["gained"]
            assert sign * shown["value"] == found["value"]
    assert summary["revisions"][0]["name"] == "old"
    assert summary["revisions"][0]["git"]["subject"] == "Draw <b>a set</b>"
    assert summary["revisions"][0]["params"] == [["train.epochs", "99", "6"]]


def test_a_revision_shows_what_its_own_page_showed(drawn_here, vpr):
    assert vpr("report", "--pictures", 0)[0] == 0
    before = [answers(paths.PAGE, number) for number in range(len(RUNS))]
    reported.with_history()
    assert vpr("report", "--with", "old", "--pictures", 0)[0] == 0
    assert [answers(paths.PAGE, len(RUNS) + number) for number in range(len(RUNS))] == before
    assert answers(paths.PAGE, 2) != before[2]


def test_runs_that_are_not_to_be_had_are_one_sentence_each(drawn_here, vpr):
    reported.with_history()
    shutil.rmtree(".dvc/cache")
    said = vpr("report", "--with", "old", "--with", "HEAD:trained/w128")[1]
    assert "4 runs on 1 set" in said
    problems = registered(paths.PAGE / "data/summary.js")["problems"]
    assert len(problems) == 5 and all(f"{problem}\n" in said for problem in problems)
    assert "HEAD:trained/w128 on drawn is not shown: HEAD has no " in problems[4]
    assert "--with is 'workspace', which names no other" in refused(vpr, "--with", "workspace")
    assert "nowhere is not a git revision" in refused(vpr, "--with", "nowhere")


def test_a_revision_with_other_queries_is_not_shown(drawn_here, vpr):
    reported.with_history()
    queries = read_index(paths.index(SET, "queries"))
    moved = replace(queries, positions=queries.positions + 1.0)
    paths.index(SET, "queries").unlink()
    radii = {"positive_radius_m": 25.0, "training_radius_m": 10.0}
    write_index(paths.index(SET, "queries"), moved, radii)
    assert "4 runs on 1 set" in vpr("report", "--with", "old")[1]
    assert (
        "queries have other positions" in registered(paths.PAGE / "data/summary.js")["problems"][0]
    )


def test_a_second_look_is_a_run_with_the_numbers_of_its_stage(drawn_here, vpr):
    reported.look_again()
    assert "6 runs on 1 set" in vpr("report", "--pictures", 0)[1]
    summary = registered(paths.PAGE / "data/summary.js")
    names = [run["name"] for run in summary["runs"]]
    for variant in reported.VARIANTS:
        told = metrics("rerank", (variant, "full"))
        before, after = (names.index(f"{variant}/full{end}") for end in ("", " + second look"))
        run, found = summary["runs"][after], answers(paths.PAGE, after)
        assert run["second_look"] == told and told["after"].items() <= run["metrics"].items()
        assert summary["runs"][before]["second_look"] is None
        hits = unpacked(found["hits"]).reshape(reported.SIZE.queries, -1)
        assert hits[:, 0].mean() == told["after"]["recall@1"] != told["before"]["recall@1"]
        pair = next(p for p in summary["differences"] if (p["from"], p["to"]) == (before, after))
        for n, shown in pair["at"].items():
            assert told["difference"][f"recall@{n}"].items() <= shown.items()
        inliers = unpacked(found["inliers"]).reshape(hits.shape)
        assert (np.diff(inliers, axis=1) <= 0).all() and (inliers >= 0).all()
        assert (scores_of(found) == inliers[:, 0]).all()
        path = paths.inlier_thresholds(SET, variant, "full")
        assert run["thresholds"] == json.loads(path.read_text())["thresholds"]
        assert answers(paths.PAGE, before)["inliers"] is None


def test_a_second_look_that_is_not_in_use_or_has_not_run_is_not_shown(drawn_here, vpr):
    reported.look_again()
    paths.reranked(SET, "trained", "full").unlink()
    assert "5 runs on 1 set" in vpr("report", "--pictures", 0)[1]
    text = Path("params.yaml").read_text()
    Path("params.yaml").write_text(text.replace(f"rerank_on:\n- {SET}", "rerank_on: []"))
    assert "4 runs on 1 set" in vpr("report", "--pictures", 0)[1]


def test_stages_have_the_seconds_of_a_run_that_made_what_is_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert stages() == []
    entries, started = {}, 1_700_000_000.0
    for name, age in (("here", 5.0), ("restored", 500.0), ("elsewhere", 5.0), ("gone", 5.0)):
        out = tmp_path / f"{name}.h5"
        out.write_bytes(b"")
        os.utime(out, (started + age, started + age))
        command = f"python -m stages.{name} a"
        entries[f"{name}@a"] = {"cmd": command, "outs": [{"path": out.name}]}
        if name != "elsewhere":
            note = {"command": command, "started": started, "seconds": 9.5, "processor": "one"}
            note["told"] = {}
            write_json(paths.TIMES / f"{name}.json", note)
    (tmp_path / "gone.h5").unlink()
    Path("dvc.lock").write_text(yaml.safe_dump({"stages": entries}))
    Path("dvc.yaml").write_text("stages: {restored: {}, here: {}}")
    told = {stage["name"]: stage["run"] for stage in stages()}
    assert [*told] == ["restored@a", "here@a", "elsewhere@a"]
    assert told["restored@a"] is None and told["elsewhere@a"] is None
    assert told["here@a"]["seconds"] == 9.5
    Path("dvc.lock").write_text("stages: [")
    with pytest.raises(UserError, match=r"dvc\.lock is damaged"):
        stages()


def test_a_revision_with_another_database_shows_the_same_images(drawn_here, vpr):
    reported.with_history()
    order = np.random.default_rng(1).permutation(reported.SIZE.database)
    path = paths.index(SET, "db")
    database = read_index(path).take(order)
    database.digests[0] += 1  # another picture under the same name
    path.unlink()
    write_index(path, database)
    for run in RUNS:
        with h5py.File(paths.predictions(SET, *run)) as file:
            arrays = {name: file[name][:] for name in file} | {"facts": dict(file.attrs)}
        facts = arrays.pop("facts")
        arrays["indices"] = np.argsort(order)[arrays["indices"]]
        paths.predictions(SET, *run).unlink()
        write_hdf5(paths.predictions(SET, *run), arrays, facts)
    assert "8 runs on 1 set" in vpr("report", "--with", "old", "--pictures", 0)[1]
    names = registered(paths.PAGE / "data/set-0.js")["database"]
    assert len(names) == reported.SIZE.database + 1

    def images(number, what):
        return [names[row] for row in unpacked(answers(paths.PAGE, number)[what]) if row >= 0]

    for number in (0, 1, 3):  # the other one has changed since
        for what in ("rows", "right"):
            assert images(number, what) == images(len(RUNS) + number, what)


def test_two_databases_become_one():
    random = np.random.default_rng(1)
    ours = index_of(["a", "b", "c"], random)
    theirs = ours.take(np.array([2, 0, 1]))
    theirs.digests[1] += 1  # another picture named a
    both, places = merged(ours, theirs)
    assert both.names == ["a", "b", "c", "a"] and places.tolist() == [2, 3, 1, -1]
    rows = np.array([[0, 1], [2, -1]])
    assert [[both.names[row] for row in line if row >= 0] for line in places[rows]] == [
        ["c", "a"], ["b"],
    ]  # fmt: skip
    assert (both.positions[places[:3]] == theirs.positions).all()
    assert (both.digests[places[:3]] == theirs.digests).all()
    assert merged(ours, ours)[0] is ours


def index_of(names, random):
    count = len(names)
    facts = [np.arange(count) for _ in range(3)]
    digests = random.integers(0, 2**40, count)
    positions = random.normal(0, 1, (count, 2))
    return ImageIndex("a_set", names, positions, *facts, np.zeros(count, bool), digests, {})


def test_the_right_image_is_the_one_that_diagnose_shows(drawn):
    path = drawn / paths.predictions(SET, *RUNS[0])
    scored = read_judgement(path, drawn / paths.index(SET, "db").parent)
    outcome = outcomes(scored.found, scored.truth, 2.0)
    shown = right_rows(scored, outcome)
    is_answerable = scored.truth.counts() > 0
    assert not is_answerable.all() and (shown[~is_answerable] == -1).all()
    for query in np.flatnonzero(is_answerable).tolist():
        row, _ = right_answer(scored.found, outcome, scored.truth, query)
        assert shown[query] == row


def test_a_second_page_takes_its_pictures_from_the_first(page, vpr):
    picture = next((page / "thumbnails").iterdir())
    picture.write_bytes(b"taken as it is")
    vpr("report")
    assert picture.read_bytes() == b"taken as it is"
    shutil.rmtree(paths.RAW / SET)  # nothing is opened again
    assert vpr("report")[0] == 0
    assert len(list((page / "thumbnails").iterdir())) == reported.SIZE.pictures


def test_a_picture_that_cannot_be_read_is_left_out(drawn_here, vpr):
    broken = {row for row in range(reported.SIZE.database) if row % reported.SIZE.pictures == 3}
    for row in broken:  # all that have the same content
        (paths.RAW / SET / f"000/drawn_{row:06}.jpg").write_bytes(b"no image")
        (paths.RAW / SET / f"000/drawn_q{row:06}.jpg").write_bytes(b"no image")
    assert vpr("report")[0] == 0
    listed = registered(paths.PAGE / "data/pictures.js")[0]
    found = {*unpacked(listed["database"]["rows"]).tolist()}
    assert found and not found & broken


def test_few_pictures_are_those_of_the_surest_mistakes(drawn_here, vpr):
    assert "12 pictures" in vpr("report", "--pictures", 12)[1]
    listed = registered(paths.PAGE / "data/pictures.js")[0]
    for number in range(len(RUNS)):
        found = answers(paths.PAGE, number)
        wrong = unpacked(found["category"]) != CATEGORIES.index("correct")
        surest = np.argmax(np.where(wrong, scores_of(found), -np.inf))
        assert surest in unpacked(listed["queries"]["rows"])
    assert "0 pictures" in vpr("report", "--pictures", 0)[1]


def test_images_are_chosen_in_turn_of_all_runs_and_each_once():
    first = [np.array([[1, 0], [0, 5], [0, 7]]), np.array([[1, 3], [0, 5]])]
    album = Album((None, None), [first, [np.array([[0, 7], [0, 9]])]])
    expected = [[0, 1, 0], [0, 1, 3], [0, 0, 5], [0, 0, 7], [0, 0, 9]]
    assert chosen([album], 10).tolist() == expected
    assert chosen([album], 3).tolist() == expected[:3]
    assert chosen([], 3).tolist() == []


def test_the_zip_holds_the_same_files(drawn_here, vpr):
    assert vpr("report", "--zip", "page.zip")[0] == 0
    with zipfile.ZipFile("page.zip") as archive:
        assert archive.testzip() is None
        files = [path for path in paths.PAGE.rglob("*") if path.is_file()]
        names = {str(Path("report") / path.relative_to(paths.PAGE)) for path in files}
        assert set(archive.namelist()) == names
        assert archive.read("report/index.html") == (PAGE / "index.html").read_bytes()


def refused(vpr, *arguments):
    """What is said, if nothing was written."""
    before = everything()
    said = toy.refusal(*vpr("report", *arguments))
    assert everything() == before
    return said


def everything():
    """All paths, with the time of the last change of files."""
    return {path: path.is_file() and path.stat().st_mtime_ns for path in Path().rglob("*")}


def test_a_foreign_folder_is_never_replaced(drawn_here, vpr):
    (drawn_here / "mine").mkdir()
    (drawn_here / "mine/index.html").write_text("<p>mine")
    for name in ("mine", "data", "params.yaml"):
        assert "which is no page of `vpr report`: name a new folder." in refused(vpr, "--out", name)
    assert "which is a folder: name a file." in refused(vpr, "--zip", "data")
    (drawn_here / "empty").mkdir()
    assert vpr("report", "--out", "empty")[0] == 0


def test_mistakes_in_what_is_asked_are_one_sentence(drawn_here, vpr):
    assert "did you mean 'trained,full'?" in refused(vpr, "--baseline", "trained,ful")
    assert "--baseline is trained,w9" in refused(vpr, "--baseline", "trained,w9")
    paths.predictions(SET, *RUNS[2]).unlink()
    assert "trained-full.h5 is missing" in refused(vpr)
    paths.result_metrics("recall", SET, *RUNS[0]).write_text("{")
    assert "off_the_shelf-full.json is damaged" in refused(vpr)
    shutil.rmtree("metrics/recall")
    assert "run `dvc repro` first" in refused(vpr)


@pytest.mark.parametrize("text", ["trained", "trained,full"])
def test_the_baseline_is_named_by_variant_or_by_variant_and_code(drawn_here, vpr, text):
    assert vpr("report", "--baseline", text)[0] == 0
    assert registered(paths.PAGE / "data/summary.js")["baseline"] == ["trained", "full"]


def test_a_run_without_calibration_has_no_scores(drawn_here, vpr):
    paths.calibration(*RUNS[1]).unlink()
    assert vpr("report")[0] == 0
    assert answers(paths.PAGE, 1)["scores"] is None
    assert registered(paths.PAGE / "data/summary.js")["runs"][1]["kind"] is None


def test_a_run_by_other_rules_is_not_compared(drawn_here, vpr):
    path = paths.result_metrics("recall", SET, *RUNS[3])
    path.write_text(path.read_text().replace('"all"', '"answerable"'))
    assert vpr("report")[0] == 0
    summary = registered(paths.PAGE / "data/summary.js")
    assert "the denominator is all in the one" in summary["runs"][3]["incomparable"]
    assert not [pair for pair in summary["differences"] if 3 in (pair["from"], pair["to"])]


def test_positions_in_a_utm_zone_are_degrees(page):
    found = registered(page / "data/set-0.js")
    longitude, latitude = 1e-7 * unpacked(found["degrees"]["database"]).reshape(-1, 2).T
    assert 8.9 < longitude.min() < 9.1 and 39.7 < latitude.min() < 39.8
    assert unpacked(found["metres"]["database"]).min() >= 0


def test_what_was_run_is_told(drawn_here):
    told = context(read_params_file(Path("params.yaml")), [SET], ["city_train"])
    assert told["git"] is None and told["changes"] is None
    assert told["params"] == Path("params.yaml").read_text()
    assert told["audits"][0]["said"] == ["2 queries of drawn are copied in city_train"]
    assert told["left_out"] == [
        {"name": "drawn_missing.txt", "count": 1, "lines": ["one.jpg is missing"]}
    ]
    assert told["training"][1]["recall@1"] == 0.625 and told["training"][0]["loss"] is None
    assert "numpy" in told["versions"]
    assert context({}, [SET], ["elsewhere"])["audits"] == []


def test_changes_are_against_the_committed_parameters(project):
    tree = yaml.safe_load(Path("params.yaml").read_text())
    assert changes(tree) == []
    tree["train"]["epochs"] = 99
    del tree["train"]["seed"]
    assert changes(tree) == [("train.epochs", "6", "99"), ("train.seed", "1", "not there")]


def test_a_damaged_log_of_training_is_one_sentence(tmp_path):
    path = tmp_path / "train.csv"
    path.write_text("epoch,loss\n1,much\n")
    with pytest.raises(UserError, match=r"train.csv is damaged"):
        training(path)
    assert training(tmp_path / "none.csv") == []


def test_every_file_of_the_page_is_installed():
    listed = (toy.ROOT / "pyproject.toml").read_text()
    assert '"vprlib.cli.report" = ["page/**"]' in listed
    tracked = subprocess.run(
        ["git", "ls-files", PAGE], cwd=toy.ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert len(tracked) == len([p for p in PAGE.rglob("*") if p.is_file()])


def test_the_page_names_files_that_exist_and_no_other_place():
    html = (PAGE / "index.html").read_text()
    names = re.findall(r'(?:src|href)="([^"#]+)"', html)
    made = {"data/summary.js", "data/pictures.js", "data:,"}
    assert not [name for name in names if name not in made and not (PAGE / name).is_file()]
    assert (
        "<script>" not in html
        and " style=" not in html
        and " on" not in re.sub(">[^<]*<", "><", html)
    )
    for script in (PAGE / "js").glob("*.js"):
        assert "innerHTML" not in script.read_text()
        assert len(script.read_text().splitlines()) <= 300, script.name


def test_libraries_are_the_ones_that_are_listed():
    listed = (PAGE / "vendor/README.md").read_text()
    rows = dict(re.findall(r"^\| `(\S+)` .* `([0-9a-f]{64})` \|$", listed, re.M))
    assert set(rows) == {p.name for p in (PAGE / "vendor").iterdir() if p.suffix in (".js", ".css")}
    for name, digest in rows.items():
        assert hashlib.sha256((PAGE / "vendor" / name).read_bytes()).hexdigest() == digest
