"""Every ready data set and recipe is valid, and names the stages that would run."""

import importlib
import re
from pathlib import Path

import pytest
import tiny
import toy
import yaml
from test_contract import PIPELINE

from vprlib.cli.use import ready_switches, with_switches
from vprlib.compress.settings import Step, check_variants
from vprlib.pipeline.params import StageParams
from vprlib.pipeline.switches import SetPlace, check

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "params.yaml").read_text()
PARAMS = toy.whole_params()
WANTED = "city pitts30k pitts250k tokyo247 tokyoTM berlin nordland own_folder own_csv checkpoint"
WANTED += " city_variants"


def switched(name: str) -> dict[str, object]:
    return yaml.load(with_switches(TEXT, ready_switches(PARAMS, name)), toy.LOADER)


def test_every_set_of_the_old_systems_is_ready():
    assert set(PARAMS["ready"]) == set(WANTED.split())


def test_the_switches_as_committed_are_those_of_the_city():
    assert switched("city") == PARAMS


@pytest.mark.parametrize("name", WANTED.split())
def test_the_switches_of_a_ready_set_agree(name):
    tree = switched(name)
    places = {key: SetPlace(**place) for key, place in tree["sets"].items()}
    switches = (tree[key] for key in ("train_on", "eval_on", "calibrate_on", "variants", "codes"))
    check(*switches, tree["code_defs"], places, tree["variant_defs"])
    defs = {n: [Step(**step) for step in steps] for n, steps in tree["variant_defs"].items()}
    check_variants(tree["variants"], tree["derived"], defs)


def loadable_places(stage: str, tree: dict) -> list[dict[str, str]]:
    """The names with which dvc.yaml calls a stage, for these switches."""
    part = {"make_city": [{"part": p} for p in tree["city"]["parts"]]}
    dataset = {"parse_mat": [{"dataset": d} for d in tree["sets"]]}
    audited = {"audit": [{"recipe": tree["train_on"], "dataset": d} for d in tree["eval_on"]]}
    evaluated = [
        {"dataset": d, "variant": v, "code": c}
        for d in tree["eval_on"]
        for v in tree["variants"]
        for c in tree["codes"]
    ]
    made = {"make_variant": [{"recipe": tree["train_on"], "variant": v} for v in tree["derived"]]}
    coded = {"fit_code": [{"code": c} for c in tree["codes"]]}
    named = part | dataset | audited | made | coded
    if stage in named:
        return named[stage]
    is_evaluation = "matrix" in PIPELINE[stage] and "dataset" in PIPELINE[stage]["matrix"]
    return evaluated if is_evaluation else [{"recipe": tree["train_on"], "variant": "trained"}]


@pytest.mark.parametrize("name", WANTED.split())
def test_every_stage_can_load_its_parameters(name, monkeypatch):
    tree = switched(name)
    written = yaml.load(yaml.dump(tree, Dumper=toy.DUMPER), toy.LOADER)  # read once
    monkeypatch.setattr("vprlib.pipeline.params.read_params_file", lambda path: written)
    for stage in PIPELINE:
        params: type[StageParams] = importlib.import_module(f"stages.{stage}").Params
        for names in loadable_places(stage, tree):
            params.load(**names)  # raises a sentence where anything is wrong


def test_every_block_below_datasets_and_recipes_belongs_to_something_ready():
    used = {name for entry in PARAMS["ready"].values() for name in entry["sets"]}
    assert set(PARAMS["datasets"]) == used
    assert set(PARAMS["recipes"]) == {entry["train_on"] for entry in PARAMS["ready"].values()}


def stub(path: Path) -> None:
    """What stands where the images are listed: enough for DVC to plan."""
    if not path.suffix:
        path.mkdir(parents=True, exist_ok=True)
        (path / "database").mkdir(exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"stub")


@pytest.mark.slow
@pytest.mark.parametrize("name", WANTED.split())
def test_a_dry_run_names_the_stages_that_would_run(name, tmp_path):
    project = tiny.Project(tmp_path / "project")
    tree = switched(name)
    project.write(tree)
    for place in tree["sets"].values():
        if place["folder"] != "city":
            stub(project.folder / "data/raw" / place["folder"] / place["file"])
    # without --force DVC looks for a stage's inputs, which the stages before it are yet to make
    said = project.dvc("repro", "--dry", "--force")
    planned = set(re.findall(r"Running stage '(.+)'", said))
    assert {f"parse_mat@{key}" for key in tree["sets"]} <= planned
    assert {"sample_features", "kmeans_centroids", "init_model", "train"} <= planned
    for dataset in tree["eval_on"]:
        for variant in tree["variants"]:
            assert f"extract_db@{dataset}-{variant}" in planned
            for stage in ("recall", "failures", "confidence"):
                assert {f"{stage}@{dataset}-{variant}-{code}" for code in tree["codes"]} <= planned
