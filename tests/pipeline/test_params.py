"""Params are strict and frozen, and each mistake is one sentence with its place."""

import copy
import importlib
import pkgutil
import re
from collections.abc import Callable, Iterator
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Annotated

import pytest
import yaml
from pydantic import BaseModel, Field, ValidationError

import stages
import vprlib
from vprlib.images.decode import ImageSettings
from vprlib.pipeline import command
from vprlib.pipeline.params import At, Section, StageParams, UserError, look_up

ROOT = Path(__file__).parents[2]


class Finetune(Section):
    learning_rate: float = Field(1e-4, gt=0)
    epochs: int = 30
    distance: str


class Params(StageParams):
    finetune: Annotated[Finetune, At("variant_defs.{variant}.finetune")]
    train_on: Annotated[str, At("train_on")]


class PictureParams(StageParams):
    images: Annotated[ImageSettings, At("datasets.city.images")]


GOOD = (
    "train_on: city\n"
    "variant_defs: {small: {finetune: {epochs: 2, learning_rate: 0.0001, distance: l2}}}\n"
)
Load = Callable[..., Params]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    monkeypatch.chdir(tmp_path)

    def of(text: str, variant: str = "small") -> Params:
        Path("params.yaml").write_text(text, encoding="utf-8")
        return Params.load(variant=variant)

    return of


def test_a_stage_reads_its_own_places(load: Load) -> None:
    loaded = load(GOOD)
    assert (loaded.finetune.epochs, loaded.finetune.learning_rate) == (2, 1e-4)
    assert loaded.train_on == "city"


def test_a_value_left_out_has_its_default(load: Load) -> None:
    assert load(GOOD.replace("epochs: 2, ", "")).finetune.epochs == 30


def test_places_names_the_dotted_places_that_a_stage_reads() -> None:
    expected = {"finetune": "variant_defs.large.finetune", "train_on": "train_on"}
    assert Params.places(variant="large") == expected


def test_a_misspelt_key_is_named_with_its_section_and_the_nearest_right_name(load: Load) -> None:
    with pytest.raises(UserError, match=r"small\.finetune has no 'epoch'; did.*'epochs'\?"):
        load(GOOD.replace("epochs", "epoch"))


def test_a_key_like_no_other_is_answered_with_all_there_are(load: Load) -> None:
    with pytest.raises(UserError, match=r"no 'qqq'; there are: learning_rate, epochs, distance\."):
        load(GOOD.replace("epochs", "qqq"))


def test_a_missing_key_is_named_with_its_section(load: Load) -> None:
    with pytest.raises(
        UserError, match=r"^params\.yaml: variant_defs\.small\.finetune lacks 'distance'\.$"
    ):
        load(GOOD.replace(", distance: l2", ""))


def test_a_wrong_type_is_named_with_its_place_and_value(load: Load) -> None:
    with pytest.raises(UserError, match=r"small\.finetune\.epochs is 'many': input should be"):
        load(GOOD.replace("epochs: 2", "epochs: many"))


def test_a_value_out_of_range_is_named(load: Load) -> None:
    with pytest.raises(UserError, match=r"finetune\.learning_rate is -1: .*greater than 0"):
        load(GOOD.replace("learning_rate: 0.0001", "learning_rate: -1"))


@pytest.mark.parametrize("written", ["1e-05", "'1e-05'", "1.0e-05", "0.00001"])
def test_a_number_that_yaml_takes_for_a_string_becomes_a_float(load: Load, written: str) -> None:
    loaded = load(GOOD.replace("learning_rate: 0.0001", f"learning_rate: {written}"))
    assert loaded.finetune.learning_rate == 1e-5


@pytest.mark.parametrize("written", [".nan", ".inf"])
def test_no_number_may_be_infinite_or_nan(load: Load, written: str) -> None:
    with pytest.raises(UserError, match=r"learning_rate is (nan|inf)"):
        load(GOOD.replace("learning_rate: 0.0001", f"learning_rate: {written}"))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("recalls: {}\n", r"there is no section 'recalls'; did you mean 'recall'\?"),
        ("datasets: {a: {layuot: {}}}\n", r"datasets\.a has no 'layuot'; did you mean 'layout'\?"),
        ("model: {pol: {}}\n", r"model has no 'pol'; did you mean 'pool'\?"),
        ("code_defs: {a: {serch: {}}}\n", r"code_defs\.a has no 'serch'; did you mean 'search'"),
        ("city: {sceen: {}}\n", r"city has no 'sceen'; did you mean 'scene'\?"),
    ],
)
def test_a_misspelt_name_above_the_sections_is_found(load: Load, text: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        load(text)


def test_a_name_of_the_user_above_the_sections_is_looked_up_with_the_nearest(load: Load) -> None:
    with pytest.raises(UserError, match=r"variant_defs has no 'smal'; did you mean 'small'\?"):
        load(GOOD, variant="smal")


def test_a_section_that_is_no_mapping_is_a_sentence(load: Load) -> None:
    with pytest.raises(UserError, match=r"defs\.small should be a mapping with 'finetune' in"):
        load("train_on: a\nvariant_defs: {small: 3}\n")


def test_look_up_walks_a_dotted_place() -> None:
    assert look_up({"a": {"b": {"c": 5}}}, "a.b.c") == 5


@pytest.mark.parametrize(
    "text",
    [
        *("a: [", "a: \x00", "\ta: b", "a: *b", "? [a]\n: b", "<<: 3", "a: !!python/object:os x"),
        *("a: 2001-99-99", "a: !!int abc", "a: !!bool x", "a: !!timestamp x", "a: 0x_"),
        *("a: " + "9" * 10_000, "a: " + "[" * 100_000, "a: " + "[" * 20_000 + "]" * 20_000),
    ],
)
def test_broken_yaml_is_a_sentence(load: Load, text: str) -> None:
    with pytest.raises(UserError, match=r"^params\.yaml is not valid YAML: .*\.$"):
        load(text)


EXPLODING = "".join(f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 10)}]\n" for n in range(1, 20))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a: " + "[" * 30 + "]" * 30, "nests deeper than 20 levels"),
        ("a: &a [*a]", "nests deeper than 20 levels"),
        ("x0: &x0 [1]\n" + EXPLODING, "has over 100000 entries in one: it may repeat an alias"),
        ("a: 0x" + "f" * 10_000, "a whole number of more than 18 digits: make it smaller"),
        ("a: {b: -1" + "0" * 30 + "}", "a whole number of more than 18 digits: make it smaller"),
    ],
)
def test_yaml_that_grows_without_end_is_a_sentence(load: Load, text: str, sentence: str) -> None:
    with pytest.raises(UserError, match=rf"^params\.yaml .*{re.escape(sentence)}"):
        load(text)


def test_params_yaml_that_is_a_folder_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").mkdir()
    with pytest.raises(IsADirectoryError, match=r"params\.yaml"):  # command.run has a sentence
        Params.load(variant="small")


@pytest.mark.parametrize("text", ["", "- a\n", "just words\n"])
def test_a_file_that_is_no_mapping_is_a_sentence(load: Load, text: str) -> None:
    with pytest.raises(UserError, match="should be a mapping of sections, but is a"):
        load(text)


def test_a_missing_file_says_where_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"params.yaml is missing: go to the folder of the project"):
        Params.load(variant="small")


def test_nothing_that_was_read_can_be_changed(load: Load) -> None:
    loaded = load(GOOD)
    with pytest.raises(ValidationError, match="frozen"):
        loaded.finetune.epochs = 5
    with pytest.raises(ValidationError, match="frozen"):
        loaded.train_on = "other"


def test_a_wrong_value_of_a_field_with_several_types_is_named_by_its_own_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text("datasets: {city: {images: {resize: tall}}}\n")
    with pytest.raises(UserError, match=r"datasets\.city\.images\.resize is 'tall'"):
        PictureParams.load()


def settings() -> list[type[BaseModel]]:
    """Every class that holds something of params.yaml."""
    for package in (vprlib, stages):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    found, waiting = [], [Section, StageParams]
    while waiting:
        found += (below := waiting.pop().__subclasses__())
        waiting += below
    return [cls for cls in found if cls.__module__.startswith(("vprlib", "stages"))]


def unlimited(schema: object, place: str) -> Iterator[str]:
    """The numbers in a JSON schema that may have any size."""
    if isinstance(schema, dict):
        ends = {"maximum", "exclusiveMaximum", "enum", "const"}
        if schema.get("type") in ("integer", "number") and not ends & set(schema):
            yield place
        for name, inner in schema.items():
            yield from unlimited(inner, f"{place}.{name}")
    elif isinstance(schema, list):
        for inner in schema:
            yield from unlimited(inner, place)


def test_every_number_of_params_yaml_has_a_largest_value() -> None:
    ours = [cls for cls in settings() if "operations" not in cls.__module__]  # of files of networks
    assert len(ours) > 50
    free = [f for cls in ours for f in unlimited(cls.model_json_schema(), cls.__qualname__)]
    assert free == []


ODD = [None, [], {}, "", "x" * 1000, "a\nb", "a\0b", -1, 0, 1e300, 1e-300, float("nan"), 2**62]
ODD += [2147483648, True, [None], {1: 2}, {None: 1}, b"x", "../x", [[1]], "٣"]


def places(tree: object, above: tuple = ()) -> Iterator[tuple]:
    children = tree.items() if isinstance(tree, dict) else ()
    for name, inner in children:
        yield (*above, name)
        yield from places(inner, (*above, name))


def test_an_odd_value_anywhere_is_one_sentence_or_fine() -> None:
    names = {"dataset": "city_test", "training": "city_train", "validation": "city_val"}
    names |= {"variant": "own", "name": "own", "code": "w128", "part": "train"}
    whole = yaml.safe_load((ROOT / "params.yaml").read_text()) | {
        "networks": {"own": {"file": "x"}}
    }
    readers = [cls for cls in settings() if issubclass(cls, StageParams)]
    for place in places(whole):
        mine = [cls for cls in readers if _around(place).intersection(cls.places(**names).values())]
        for odd in ODD:
            tree = copy.deepcopy(whole)
            reduce(getitem, place[:-1], tree)[place[-1]] = odd
            for cls in mine:
                try:
                    cls.of(tree, **names)
                except UserError as error:
                    (said,) = command.sentences(error)
                    assert said.isprintable() and len(said) < 400, (place, odd)


def _around(place: tuple) -> set[str]:
    """The dotted places at, above and below which this one lies."""
    return {".".join(place[: n + 1]) for n in range(len(place))}
