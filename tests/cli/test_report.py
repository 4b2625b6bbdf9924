"""The page's data equals the metrics; nothing foreign is overwritten; pictures are made once."""

import hashlib
import json
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
import reported
import toy
import yaml
from reported import RUNS, SET, registered, unpacked

from vprlib.cli.report.context import changes, context, training
from vprlib.cli.report.sets import nearest_right, right_rows
from vprlib.cli.report.thumbnails import Album, chosen
from vprlib.evaluate.failures import CATEGORIES, outcomes, right_answer
from vprlib.evaluate.predictions import read_judgement
from vprlib.pipeline import paths
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


def test_the_right_image_is_the_one_that_diagnose_shows(drawn):
    path = drawn / paths.predictions(SET, *RUNS[0])
    scored = read_judgement(path, drawn / paths.index(SET, "db").parent)
    outcome = outcomes(scored.found, scored.truth, 2.0)
    nearest = nearest_right(scored.found, scored.truth)
    result = type("Result", (), {"found": scored.found, "outcome": outcome})
    shown = right_rows(result, nearest)
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
