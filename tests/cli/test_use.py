"""`vpr use` sets params.yaml up, says what changed, and overwrites no edit that git has not."""

from pathlib import Path

import pytest
import toy
import yaml

from vprlib.cli.parts import KEPT, RADII, RECIPES, read_recipes
from vprlib.cli.use import compose
from vprlib.pipeline import paths
from vprlib.pipeline.params import UserError
from vprlib.train.settings import DistilSettings, LearningSettings, PlacesSettings

LISTS = [paths.RAW / f"pitts30k/datasets/pitts30k_{part}.mat" for part in ("train", "val", "test")]
READY = "All files are there: type `dvc repro`.\n"


@pytest.fixture
def use(project, vpr):
    """Runs `vpr use …` with the lists of Pittsburgh 30k in place; gives what was said."""
    for path in LISTS:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    def run(*arguments):
        code, said = vpr("use", *arguments)
        assert code == 0, said
        return said

    return run


@pytest.fixture
def refused(project, vpr):
    """`vpr use …` that must end in one sentence and leave params.yaml as it is."""

    def run(*arguments):
        before = text()
        said = toy.refusal(*vpr("use", *arguments))
        assert text() == before
        return said

    return run


def text():
    return Path("params.yaml").read_text(encoding="utf-8")


def params():
    return yaml.load(text(), toy.LOADER)


def test_the_city_is_in_use_already(use):
    before = text()
    assert use("city") == f"params.yaml stays as it is.\n{READY}"
    assert text() == before


def test_a_preset_says_what_it_changes_and_leaves_how_it_is_evaluated_and_run(use):
    before = params()
    said = use("pitts30k").splitlines()
    assert "train_on: [city_train] → [pitts30k_train]" in said
    assert "train.epochs: 6 → 30" in said
    assert "model.backbone.name: efficientnet_lite0 → vgg16" in said
    assert "datasets.pitts30k_test: nothing → {folder, list, layout," in "\n".join(said)
    after = params()
    assert after["train"]["margin"] == before["train"]["margin"]
    kept = ("recall", "interval", "compare", "audit", "failures", "confidence", "runtime")
    assert {key: after[key] for key in kept} == {key: before[key] for key in kept}
    assert use("city").endswith(READY)  # what a preset wrote is no edit
    assert params() == before


def test_a_folder_that_is_not_linked_yet_is_named_after_params_yaml_is_set(project, vpr):
    said = vpr("use", "pitts30k")[1]
    assert f"\nerror: {LISTS[0]} is missing: link the folder that holds the images of" in said
    assert params()["train_on"] == ["pitts30k_train"]


def test_edits_that_are_not_committed_are_overwritten_only_by_force(use, refused, git):
    edited = text().replace("  epochs: 6\n", "  epochs: 3\n")
    Path("params.yaml").write_text(edited)
    said = refused("pitts30k")
    assert "params.yaml has edits that are not committed, and they would be overwritten" in said
    assert said.endswith(": commit them, or add --force.\n")
    assert "train.epochs: 3 → 30" in use("pitts30k", "--force")
    Path("params.yaml").write_text(edited)
    git("commit", "-qam", "fewer epochs")
    assert "train.epochs: 3 → 30" in use("pitts30k")


def test_edits_that_no_preset_overwrites_need_no_commit(use):
    Path("params.yaml").write_text(text().replace("memory_gib: 2.0", "memory_gib: 4.0"))
    use("pitts30k")
    assert params()["runtime"]["memory_gib"] == 4.0


def test_without_a_committed_file_nothing_is_overwritten(refused, git):
    git("rm", "-q", "--cached", "params.yaml")
    git("commit", "-qm", "gone")
    assert "git has no committed params.yaml to compare with" in refused("pitts30k")


def test_the_list_of_presets_has_a_line_each(use):
    *lines, _ = use("--list").splitlines()  # the last names the published networks
    assert [line.split()[0] for line in lines] == sorted(
        path.stem for path in Path("presets").glob("*.yaml")
    )
    assert "pitts30k       Pittsburgh 30k: VGG16 as in the paper and the PyTorch port" in lines


def test_codes_bring_their_definitions_and_what_they_are_fitted_on(use):
    before = text()
    use("--codes", "full,w512_int8")
    found = params()
    assert (found["codes"], found["fitted"]) == (["full", "w512_int8"], ["w512_int8"])
    assert found["fit_on"] == ["city_train"]
    assert found["code_defs"]["w512_int8"]["keep"] == {"whiten": 512, "precision": "int8"}
    assert set(found["code_defs"]) == {"full", "w128", "w512_int8"}
    use("--codes", "full")
    assert params() == yaml.load(before, toy.LOADER) | {"code_defs": found["code_defs"]}


def test_variants_bring_the_networks_that_they_are_made_of(use):
    use("--variants", "trained,pruned30_int8")
    found = params()
    assert found["variants"] == ["trained", "pruned30_int8"]
    assert found["derived"] == {"pruned30_int8": "pruned30", "pruned30": "trained"}
    assert set(found["variant_defs"]) == {"pruned30", "pruned30_int8"}
    use("--variants", "off_the_shelf,trained")
    assert params() == toy.whole_params()


def test_definitions_of_ones_own_come_before_those_of_presets(use):
    own = {"keep": {"whiten": 9}, "index": None, "search": None}
    steps = [{"round": {"to": "float16"}}]
    tree = params() | {"derived": {"int8": "off_the_shelf"}, "variant_defs": {"int8": steps}}
    tree["code_defs"]["w512"] = own
    Path("params.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    use("--codes", "w512", "--variants", "int8")
    found = params()
    assert found["code_defs"]["w512"] == own and found["variant_defs"] == {"int8": steps}
    assert found["derived"] == {"int8": "off_the_shelf"}


def test_a_preset_and_codes_can_be_asked_for_at_once(use):
    use("pitts30k", "--codes", "full,w4096")
    found = params()
    assert (found["codes"], found["fit_on"]) == (["full", "w4096"], ["pitts30k_train"])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["pits30k"], "there is no preset 'pits30k'; did you mean 'pitts30k'?"),
        (["--codes", "full,w512_int"], "codes has no 'w512_int'; did you mean 'w512_int8'?"),
        (["--variants", "prune30"], "variants has no 'prune30'; did you mean 'pruned30'?"),
        ([], "name a preset, or --codes, --variants or --train; `vpr use --list` shows presets."),
    ],
)
def test_an_unknown_name_is_one_sentence_with_the_nearest(refused, arguments, sentence):
    assert refused(*arguments).startswith(f"error: {sentence}")


def test_codes_without_a_training_set_are_refused(project):
    with pytest.raises(UserError, match=r"w512 are fitted on training images, but params\.yaml"):
        compose(text(), "checkpoint", {"codes": ["full", "w512"]})


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("trian: {epochs: 3}\n", r"there is no section 'trian'; did you mean 'train'\?"),
        ("train: {epoch: 3}\n", "train has no 'epoch' to change"),
    ],
)
def test_a_preset_that_changes_what_is_not_there_is_refused(project, content, sentence):
    Path("presets/own.yaml").write_text(f"# My own\n{content}")
    with pytest.raises(UserError, match=rf"^params\.yaml: {sentence}"):
        compose(text(), "own", {})


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("datasets: 3\n", "datasets is 3"),
        ("datasets: {a: {list: x}}\n", "datasets.a lacks 'folder'"),
        ("networks: null\n", "networks is None"),
        ("variants: []\n", "variants should have at least one entry"),
        ("variants: null\n", "variants is None"),
        ("eval_on: [berlin_x]\n", "eval_on names 'berlin_x'; there are: "),
        (
            "eval_on: [pitts250k_test]\n",
            "'pitts250k_test', which is not in use: type `vpr us",
        ),
        ("eval_on: [nowhere]\n", "eval_on names 'nowhere'; there are: "),
        ("train: 3\n", "train is 3"),
        ("train: {epochs: many}\n", "train.epochs is 'many'"),
        ("train: {epochs: 10000000}\n", "train.epochs is 10000000"),
        ("kmeans: {clusters: 2000000}\n", "kmeans.clusters is 2000000"),
        ("model: {backbone: {name: alexnet}}\n", "model.backbone lacks 'cut'"),
        ("model: {backbone: {name: alexnte, cut: conv5}}\n", "there is no backbone 'alexnte'"),
        ("extraction: {precision: float8}\n", "extraction.precision is 'float8'"),
        ("1: {a: 2}\n", "there is no section '1'"),
        ("codes: [full, 3]\n", "codes.1 is 3"),
    ],
)
def test_a_preset_that_is_invalid_changes_nothing(refused, content, sentence):
    Path("presets/own.yaml").write_text(f"# My own\n{content}")
    assert sentence in refused("own")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("clusters: 64", "clusters: none"),
        ("variants: [off_the_shelf, trained]", "variants: null"),
        ("networks: {}", "networks: []"),
        ("derived: {}", "deriven: {}"),
        ("calibrate_on: city_val", "calibrate_on: city_tset"),
    ],
)
def test_what_does_not_fit_the_present_params_changes_nothing(refused, old, new):
    assert old in text()
    Path("params.yaml").write_text(text().replace(old, new))
    assert refused("--codes", "full,w512").startswith("error: params.yaml: ")


def test_a_file_without_a_last_line_break_is_changed_like_any_other(use):
    Path("params.yaml").write_text(text().removesuffix("\n"))
    use("--codes", "full,w512")
    assert params()["codes"] == ["full", "w512"]


@pytest.mark.parametrize("arguments", [["--list"], ["city"], ["--codes", "full"], ["--force"]])
def test_outside_a_project_it_says_where_to_go(tmp_path, monkeypatch, vpr, arguments):
    monkeypatch.chdir(tmp_path)
    said = toy.refusal(*vpr("use", *arguments))
    assert "go to the folder of the project" in said or "name a preset" in said


NETWORKS = yaml.load((toy.ROOT / "presets/parts/networks.yaml").read_text(), toy.LOADER)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_published_network_joins_the_variants_on_the_sets_in_use(use, name):
    paths.WEIGHTS.mkdir(parents=True, exist_ok=True)
    (paths.WEIGHTS / NETWORKS[name]["file"]).touch()
    use("pitts30k")
    before = params()
    said = use(name)
    assert params() == before | {
        "networks": {name: NETWORKS[name]},
        "variants": [*before["variants"], name],
    }
    assert f"networks.{name}: nothing → {{file, whitening}}\nThe file of {name}, " in said
    assert " comes from https://" in said
    assert use(name).startswith("params.yaml stays as it is.\n")


def test_a_published_network_without_its_file_says_where_it_comes_from(project, vpr):
    code, said = vpr("use", "megaloc", "--variants", "off_the_shelf")
    assert code == 1 and said.count("error: ") == 1
    assert "megaloc.torch, comes from https://github.com/gmberton/MegaLoc/" in said
    assert "megaloc.torch is missing: put or link the network's file there" in said
    assert params()["variants"] == ["off_the_shelf", "megaloc"]


def test_the_list_ends_with_the_published_networks(use):
    last = use("--list").splitlines()[-1]
    assert last == f"Published networks, each evaluated on the sets in use: {', '.join(NETWORKS)}"


def test_a_recipe_replaces_how_the_network_learns_and_keeps_what_it_does_not_say(use):
    before = params()
    said = use("--train", "places")
    assert "train.kind: nothing → places" in said and said.endswith(READY)
    after = params()
    assert {key for key in before if before[key] != after[key]} == {"train"}
    kept = {key: before["train"][key] for key in (*KEPT, *RADII)}
    assert after["train"] == yaml.safe_load(RECIPES.read_text())["places"] | kept
    assert "images_a_pass: 64          # through the network at once" in text()
    assert use("--train", "places") == f"params.yaml stays as it is.\n{READY}"
    use("--train", "salad")
    assert after["train"]["seed"] == params()["train"]["seed"]
    use("city")
    assert params() == before


def test_a_teacher_is_named_beside_its_recipe(use):
    before = params()
    paths.WEIGHTS.mkdir(parents=True, exist_ok=True)
    (paths.WEIGHTS / NETWORKS["cosplace"]["file"]).touch()
    said = use("--train", "distil", "--teacher", "cosplace")
    assert "train.teacher: none → cosplace" in said and said.endswith(READY)
    after = params()
    assert after["networks"] == {"cosplace": NETWORKS["cosplace"]}
    assert after["variants"] == before["variants"]
    assert after["train"]["teacher"] == "cosplace" and not {*RADII} & {*after["train"]}
    again = use("--train", "distil", "--teacher", "cosplace")
    assert again == f"params.yaml stays as it is.\n{READY}"
    use("--train", "places")  # no edit of anybody's is lost
    after = params()["train"]
    assert after["teacher"] == "none" and [after[key] for key in RADII] == [None, None]
    use("city", "--force")  # `networks` has an entry more
    assert params() == before


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--train", "distil"), "train.teacher and start both name 'off_the_shelf', but a student"),
        (("--train", "distil", "--teacher", "big"), "train.teacher names 'big'; "),
        (("--train", "distil", "--teacher", "trained"), "is trained, which is what is being"),
        (("--train", "distil", "--teacher", "none"), "is none, but train.kind distil needs"),
        (("--train", "distil", "--teacher", "a: b"), "--teacher is 'a: b', but the name of"),
        (("--train", "places", "--teacher", "cosplace"), "the recipe places has no teacher"),
        (("--teacher", "cosplace"), "--teacher belongs to a recipe: add --train distil"),
    ],
)
def test_a_teacher_that_cannot_be_is_a_sentence(refused, arguments, sentence):
    assert sentence in refused(*arguments)


def test_a_recipe_goes_over_a_preset(use):
    use("pitts30k", "--train", "mixvpr")
    train = params()["train"]
    assert (train["places_a_batch"], train["first_layer"]) == (120, "conv5_1")


def test_edits_are_not_lost_to_a_recipe(use, refused):
    Path("params.yaml").write_text(text().replace("  epochs: 6\n", "  epochs: 7\n"))
    assert "has edits that are not committed" in refused("--train", "places")
    use("--train", "places", "--force")


def test_an_unknown_recipe_is_a_sentence(refused):
    assert "there is no recipe 'place'; did you mean 'places'?" in refused("--train", "place")


@pytest.mark.parametrize("name", read_recipes())
def test_each_recipe_is_whole(name):
    """DVC sees only what is in the file."""
    recipe = yaml.safe_load(RECIPES.read_text())[name]
    kind = DistilSettings if recipe["kind"] == "distil" else PlacesSettings
    settings, kept = kind(**recipe), {*KEPT, *(() if kind is DistilSettings else RADII)}
    assert {*recipe, *kept} == set(kind.model_fields) and not {*recipe} & kept
    for key in {"labels", "schedule", "loss"} & {*recipe}:
        assert set(recipe[key]) == set(type(getattr(settings, key)).model_fields)
    assert set(KEPT) <= set(LearningSettings.model_fields)
