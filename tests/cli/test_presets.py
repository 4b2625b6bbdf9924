"""Every preset is valid, plans the stages that it needs, and can follow any other."""

import importlib
import inspect
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import toy
import yaml
from dvc.repo import Repo

from vprlib.cli.use import compose, preset_names
from vprlib.extract.extraction import SideParams
from vprlib.pipeline import paths

TEXT = (toy.ROOT / "params.yaml").read_text(encoding="utf-8")
WANTED = "city pitts30k pitts250k tokyo247 tokyoTM berlin nordland own_folder own_csv checkpoint"
WANTED += " city_variants city_scratch corridor photos"


pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep:DeprecationWarning")  # in DVC


@pytest.fixture(autouse=True)
def inside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(toy.ROOT)


def composed(name: str) -> dict:
    return yaml.load(compose(TEXT, name, {}), toy.LOADER)


def test_every_known_data_set_has_a_preset() -> None:
    assert set(preset_names()) == set(WANTED.split())


def test_params_yaml_is_the_city_preset() -> None:
    preset = yaml.load(Path("presets/city.yaml").read_text(encoding="utf-8"), toy.LOADER)
    assert {key: toy.whole_params()[key] for key in preset} == preset
    assert compose(TEXT, "city", {}) == TEXT


@pytest.mark.parametrize(
    ("first", "then"), [*zip(preset_names(), [*preset_names()[1:], "city"], strict=True)]
)
def test_a_preset_gives_the_same_file_whatever_preset_came_before(first: str, then: str) -> None:
    before = compose(TEXT, first, {})
    assert compose(before, then, {}) == compose(TEXT, then, {})
    assert compose(before, "city", {}) == TEXT  # with all its comments


@pytest.mark.parametrize("name", preset_names())
def test_comments_stay(name: str) -> None:
    before, after = TEXT.splitlines(), compose(TEXT, name, {}).splitlines()
    titles = [[line for line in lines if line.startswith("#")] for lines in (before, after)]
    assert titles[0] == titles[1]
    for key in ("init_on", "train_on", "validate_on", "calibrate_on", "  precision", "search"):
        old, new = (
            next(line for line in lines if line.startswith(f"{key}: ")) for lines in (before, after)
        )
        assert old.partition("#")[2] == new.partition("#")[2] != ""


def test_the_corridor_is_described_in_float32_and_nothing_else_of_extraction_changes() -> None:
    before, after = (composed(name)["extraction"] for name in ("city", "corridor"))
    assert after == before | {"precision": "float32"}


def stub(path: Path) -> None:
    """What stands where the images are listed: enough for DVC to plan."""
    if path.suffix:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    else:
        path.mkdir(parents=True)


def planned(tree: dict) -> set[str]:
    """The stages that a preset needs."""
    names = {"check_switches", *(f"parse_mat@{name}" for name in tree["datasets"])}
    names |= {f"list_photos@{name}" for name in tree["photos"]}
    names |= {f"load_model@{name}" for name in tree["networks"]}
    names |= {f"make_variant@{name}" for name in tree["derived"]}
    names |= {f"make_city@{part}" for part in tree["city"]["parts"]}
    for stage in ("sample_features", "kmeans_centroids", "init_model"):
        names |= {f"{stage}@{name}" for name in tree["init_on"]}
    for training in tree["train_on"]:
        names |= {f"train@{training}", *(f"audit@{d}-{training}" for d in tree["eval_on"])}
    for variant in tree["variants"]:
        described = [f"{dataset}-{variant}" for dataset in tree["eval_on"]]
        names |= {f"{s}@{d}" for s in ("extract_db", "extract_queries") for d in described}
        for code in tree["codes"]:
            judging = ("search", "recall", "diagnose")
            names |= {f"{stage}@{d}-{code}" for stage in judging for d in described}
            names.add(f"calibrate@{variant}-{code}")
    return names


@pytest.mark.parametrize("name", preset_names())
def test_a_dry_run_plans_just_the_stages_of_a_preset_and_each_can_load_its_params(
    project: Path, vpr: Callable[..., tuple[int, str]], run: Callable[..., str], name: str
) -> None:
    tree = composed(name)
    for entry in tree["datasets"].values():
        if entry["folder"] != "city":
            stub(paths.RAW / entry["folder"] / entry["list"])
    for network in tree["networks"].values():
        stub(paths.WEIGHTS / network["file"])
    code, said = vpr("use", name)
    assert code == 0 and said.endswith("All files are there: type `dvc repro`.\n"), said
    assert yaml.load(Path("params.yaml").read_text(encoding="utf-8"), toy.LOADER) == tree
    assert run("check_switches").startswith("switches: ")
    paths.SWITCHES.unlink()
    for kept in ("dvc.yaml", ".dvcignore", ".dvc/config"):
        Path(kept).parent.mkdir(exist_ok=True)
        shutil.copy(toy.ROOT / kept, kept)
    # without force DVC looks for a stage's inputs, which the stages before it are yet to make
    stages = Repo().reproduce(dry=True, force=True)
    assert {stage.addressing for stage in stages} == planned(tree)
    for stage in stages:
        load_params(*stage.cmd.split()[2:])


def load_params(module_name: str, *arguments: str) -> None:
    """As `python -m stages.<stage> <arguments>` would."""
    module = importlib.import_module(module_name)
    names = inspect.signature(module.main).parameters
    params = getattr(module, "Params", SideParams)
    params.load(**dict(zip(names, arguments, strict=True)))
