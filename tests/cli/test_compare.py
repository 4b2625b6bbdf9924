"""Runs held against each other: counts against a loop, spellings, refusals, revisions, seeds."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import toy
import yaml

from vprlib.cli.comparison.runs import RunSpec, parse_run
from vprlib.cli.comparison.stats import moves
from vprlib.images.index import write_index
from vprlib.pipeline.artifacts import write_hdf5, write_json

CITY = toy.ROOT / "artifacts/predictions/city_test"
RADII = {"positive_radius_m": 25.0, "training_radius_m": 10.0}
QUERIES, DATABASE, KEPT = 36, 30, 20


def write_side(index_at, queries=QUERIES, moved=0.0):
    folder = Path("data/index/toy_val")
    write_index(folder / "db.h5", index_at([(30.0 * i, 0.5) for i in range(DATABASE)]))
    at = [(30.0 * (i // 4) + moved, 2.0) for i in range(queries)]
    write_index(folder / "queries.h5", index_at(at), RADII)


def write_run(variant, seed, skill, queries=QUERIES, denominator="all", **attributes):
    """Predictions of a network that puts the right image first with this probability."""
    draw = np.random.default_rng(seed)
    rows = np.array([draw.permutation(DATABASE)[:KEPT] for _ in range(queries)])
    for query in np.flatnonzero(draw.random(queries) < skill):
        wanted = query // 4
        rows[query] = [wanted, *(row for row in rows[query] if row != wanted), 0][:KEPT]
    right = rows == (np.arange(queries) // 4)[:, None]
    about = {"protocol": "plain", "radius_m": 25.0, **attributes}
    arrays = {"indices": rows, "distances": rows.astype(np.float32), "hits": right}
    write_hdf5(Path(f"artifacts/predictions/toy_val/{variant}-full.h5"), arrays, about)
    write_json(Path(f"metrics/recall/toy_val/{variant}-full.json"), {"denominator": denominator})
    return right


@pytest.fixture
def here(tmp_path, monkeypatch, index_at):
    """Two runs in the workspace: what they found."""
    monkeypatch.chdir(tmp_path)
    toy.write_params(tmp_path, toy.params())
    write_side(index_at)
    return write_run("off_the_shelf", 1, 0.2), write_run("trained", 2, 0.7)


@pytest.fixture
def ask(vpr):
    def run(*arguments):
        code, said = vpr("compare", *arguments)
        assert code == 0, said
        return json.loads(said) if "--json" in arguments else said

    return run


@pytest.fixture
def refused(vpr):
    return lambda *arguments: toy.refusal(*vpr("compare", *arguments))


def loop(a, b, n):
    counts = {"gained": [], "lost": [], "both_right": [], "both_wrong": []}
    for query in range(len(a)):
        was = any(bool(hit) for hit in a[query][:n])
        now = any(bool(hit) for hit in b[query][:n])
        kind = {(0, 1): "gained", (1, 0): "lost", (1, 1): "both_right", (0, 0): "both_wrong"}
        counts[kind[int(was), int(now)]].append(query)
    return counts


def check_against_loop(answer, a, b):
    (pair,) = answer["pairs"]
    for name, found in pair["differences"].items():
        counts = loop(a, b, int(name.partition("@")[2]))
        assert {kind: found[kind] for kind in counts} == {k: len(v) for k, v in counts.items()}
        gained = (len(counts["gained"]) - len(counts["lost"])) / len(a)
        assert found["value"] == pytest.approx(gained)
    counts = loop(a, b, pair["at"])
    for kind in ("gained", "lost", "both_wrong"):
        assert [query["query"] for query in pair[kind]] == counts[kind]


@pytest.mark.parametrize("at", [1, 5])
def test_the_counts_are_those_of_a_slow_loop(here, ask, at):
    answer = ask("off_the_shelf", "trained", "--json", "--at", at)
    check_against_loop(answer, *here)
    assert (answer["queries"], answer["locations"]) == (36, 9)
    assert answer["runs"][1]["recall@1"]["value"] == here[1][:, 0].mean()


@pytest.mark.skipif(not CITY.exists(), reason="the city has not been evaluated here")
def test_the_counts_on_the_city_are_those_of_a_slow_loop(ask, monkeypatch):
    monkeypatch.chdir(toy.ROOT)
    answer = ask("off_the_shelf/full", "trained/full", "--set", "city_test", "--json")
    hits = []
    for variant in ("off_the_shelf", "trained"):
        with h5py.File(CITY / f"{variant}-full.h5") as file:
            hits.append(file["hits"][:])
    check_against_loop(answer, *hits)


def test_one_screen_says_it_all(here, ask):
    said = ask("off_the_shelf", "trained")
    lines = said.splitlines()
    assert lines[0] == "toy_val, plain, 25 m: 36 queries at 9 locations, 95 % intervals"
    assert lines[3].startswith("A  off_the_shelf/full  ") and lines[4].startswith("B  trained/full")
    assert lines[6].split("  ")[-4:] == ["gained", "lost", "both right", "both wrong"]
    assert "rank of the first right image among 20: better for " in said
    assert len(lines) < 24 and "fancied" not in said


def test_names_are_listed_where_that_is_asked_for(here, ask):
    said = ask("off_the_shelf", "trained", "--list")
    counts = loop(*here, 1)
    named = [line.split() for line in said.splitlines() if line[:3] in ("  g", "  l")]
    expected = [["gained", f"{q:03}.jpg"] for q in counts["gained"]]
    assert named == expected + [["lost", f"{q:03}.jpg"] for q in counts["lost"]]


def test_equal_runs_differ_by_nothing(here, ask):
    (pair,) = ask("trained", "trained/full", "--json")["pairs"]
    for found in pair["differences"].values():
        assert (found["value"], found["p"], found["gained"], found["lost"]) == (0.0, 1.0, 0, 0)
    assert (pair["same_predictions"], pair["ranks"]["same"]) == (True, 36)
    assert "every query has the same results in the same order" in ask("trained", "trained/full")


def test_several_runs_are_held_against_the_first(here, ask):
    write_run("pruned", 3, 0.5)
    tree = toy.params()
    toy.write_params(Path(), tree | {"variants": [*tree["variants"], "pruned"]})
    pairs = ask("off_the_shelf", "trained", "pruned", "--json")["pairs"]
    assert [(p["from"], p["to"]) for p in pairs] == [
        ("off_the_shelf/full", "trained/full"), ("off_the_shelf/full", "pruned/full"),
    ]  # fmt: skip


def test_ranks_move_as_a_loop_says():
    draw = np.random.default_rng(1)
    a, b = (draw.random((80, n)) < 0.1 for n in (12, 9))
    counted = draw.random(80) < 0.8
    found = moves(a, b, counted)
    changes, counts = [], {"up": 0, "down": 0, "same": 0, "found": 0, "lost": 0}
    for query in np.flatnonzero(counted):
        was, now = (next((rank for rank in range(9) if run[query][rank]), None) for run in (a, b))
        if was is None or now is None:
            counts["found"] += was is None and now is not None
            counts["lost"] += was is not None and now is None
            counts["up"] += was is None and now is not None
            counts["down"] += was is not None and now is None
            counts["same"] += was is now is None
        else:
            changes.append(now - was)
            counts["up" if now < was else "down" if now > was else "same"] += 1
    assert found.kept == 9 and found.median == np.median(changes)
    assert {name: getattr(found, name) for name in counts} == counts


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("trained", (None, "trained", None)),
        ("trained/w512", (None, "trained", "w512")),
        ("HEAD~1", ("HEAD~1", None, None)),
        ("HEAD~1:trained/full", ("HEAD~1", "trained", "full")),
        ("work/new:off_the_shelf", ("work/new", "off_the_shelf", None)),
        ("work/new", ("work/new", None, None)),
        ("workspace", (None, None, None)),
        (":pruned", (None, "pruned", None)),
        ("longer:", ("longer", None, None)),
    ],
)
def test_how_a_run_is_spelled(text, expected):
    assert parse_run(text, ["off_the_shelf", "trained"]) == RunSpec(*expected)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"radius_m": 10.0}, "the radius is 25.0 in the one and 10.0 in the other"),
        ({"protocol": "ranked"}, "the protocol is plain in the one and ranked in the other"),
        ({"denominator": "answerable"}, "the denominator is all in the one and answerable in"),
    ],
)
def test_other_rules_are_refused(here, refused, change, problem):
    write_run("trained", 2, 0.7, **change)
    assert f"cannot be compared query by query: {problem}" in refused("off_the_shelf", "trained")


def test_what_is_missing_or_too_little_is_a_sentence(here, refused):
    assert "name at least two runs" in refused("trained")
    assert "pruned-full.h5 is missing: check that set" in refused("trained", ":pruned")
    assert "kept 20 results per query, too few for recall@21" in refused(
        "trained", "off_the_shelf", "--at", "21"
    )


def test_one_run_twice_is_no_experiment_over_seeds(here, refused):
    said = refused("trained", "trained", "--seeds")
    assert "trained/full and trained/full have the same seeds" in said


def commit(repo, tag):
    repo.add(["artifacts/predictions", "data/index"])
    toy.git("add", "-A")
    toy.git("commit", "-qm", tag)
    toy.git("tag", tag)


def test_a_revision_is_read_through_dvc_and_held_against_the_workspace(here, ask, refused):
    repo = toy.new_repository()
    commit(repo, "old")
    found = write_run("trained", 5, 0.9)
    answer = ask("HEAD", "trained", "--json")
    check_against_loop(answer, here[1], found)
    assert [run["name"] for run in answer["runs"]] == ["HEAD:trained/full", "trained/full"]
    assert "nowhere is not a git revision, a DVC experiment or" in refused("trained", "nowhere")


@pytest.fixture
def history(here, index_at):
    """Four commits: two seeds, a longer training, and other queries."""
    repo = toy.new_repository()
    Path("dvc.yaml").write_text("{}\n")
    hits = {}
    for draw, (tag, skill, change) in enumerate(
        [("one", 0.6, {"seed": 11}), ("two", 0.6, {"seed": 12}), ("long", 0.9, {"epochs": 9})]
    ):
        tree = yaml.safe_load(Path("params.yaml").read_text())
        tree["train"].update(change)
        Path("params.yaml").write_text(yaml.safe_dump(tree))
        hits[tag] = write_run("trained", draw, skill)
        commit(repo, tag)
    write_side(index_at, queries=32)
    write_run("trained", 1, 0.5, queries=32)
    commit(repo, "fewer")
    return hits


@pytest.mark.slow
def test_revisions_are_compared_and_averaged(history, ask, refused):
    answer = ask("two", "long:trained/full", "--json")
    check_against_loop(answer, history["two"], history["long"])
    assert [run["name"] for run in answer["runs"]] == ["two:trained/full", "long:trained/full"]
    assert answer["pairs"][0]["params"] == {"train.epochs": [1, 9]}
    assert "params.yaml: train.epochs 1 → 9" in ask("two", "long:trained/full")

    said = refused("two", "fewer")
    assert "the queries differ (36 and 32, 32 in both; 032.jpg is in one alone)" in said
    assert "one has no artifacts/predictions/toy_val/pruned-full.h5: it was not" in refused(
        "one", "one:pruned"
    )

    answer = ask("one", "two", "--seeds", "--json")
    values = [history[tag][:, 0].mean() for tag in ("one", "two")]
    found = answer["recalls"]["recall@1"]
    assert (found["mean"], found["spread"]) == pytest.approx(
        (np.mean(values), np.std(values, ddof=1))
    )
    half = 12.7062 * found["spread"] / 2**0.5  # Student's quantile of one degree of freedom
    assert found["seeds_low"] == pytest.approx(max(found["mean"] - half, 0), abs=1e-4)
    assert answer["seeds"] == {"train.seed": [11, 12]}
    assert "train.seed: 11, 12" in ask("one", "two", "--seeds")
    assert "differ in more than seeds: train.epochs is 1 in the one and 9" in refused(
        "one", "two", "long", "--seeds"
    )
