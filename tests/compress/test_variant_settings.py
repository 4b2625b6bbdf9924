"""Steps that cannot be are refused with a sentence, before anything runs."""

import pytest
from pydantic import ValidationError

from vprlib.compress.settings import Step, check_variants, lineage, steps_of
from vprlib.pipeline.params import UserError

PRUNE = {"prune": {"fraction": 0.3, "by": "magnitude"}}
LEARN = {"finetune": {"epochs": 1, "learning_rate": 0.001, "first_layer": None}}
INT8 = {"quantise": {"to": "int8", "images": 5, "seed": 1}}
HALF = {"round": {"to": "float16"}}
SPARSE = {"sparsify": {"fraction": 0.5}}


GIVEN = ("off_the_shelf", "trained")


def check(derived: dict[str, str], variants: list[str] | None = None, **defs: list) -> None:
    steps = {name: [Step(**step) for step in entry] for name, entry in defs.items()}
    check_variants(["trained", *(variants or derived)], derived, steps, GIVEN)


@pytest.mark.parametrize(
    "steps",
    [[PRUNE], [PRUNE, LEARN, INT8], [SPARSE, LEARN], [PRUNE, PRUNE, HALF], [PRUNE, SPARSE, INT8]],
)
def test_steps_that_can_follow_each_other_pass(steps: list) -> None:
    check({"it": "trained"}, it=steps)


def test_steps_of_a_base_come_first() -> None:
    derived = {"small": "trained", "smaller": "small"}
    defs = {"small": [Step(**PRUNE)], "smaller": [Step(**INT8)]}
    assert [s.name for s in steps_of("smaller", derived, defs)] == ["prune", "quantise"]
    assert lineage("smaller", derived) == ["small", "smaller"]


@pytest.mark.parametrize(
    ("steps", "sentence"),
    [
        ([INT8, INT8], "quantise twice: its weights are int8 already"),
        ([HALF, INT8], "quantise twice: its weights are float16 already"),
        ([INT8, LEARN], "finetune a network that is int8 already, .*: finetune before"),
        ([INT8, PRUNE], "prune a network that is int8 already, .*: prune before"),
        ([SPARSE, SPARSE], "sparsify twice: give the whole fraction at once"),
        ([SPARSE, LEARN, PRUNE], "prune a network that is sparse already: prune first"),
    ],
)
def test_impossible_chains_are_a_sentence(steps: list, sentence: str) -> None:
    with pytest.raises(UserError, match=f"^params.yaml: the steps of it {sentence}"):
        check({"it": "trained"}, it=steps)
    with pytest.raises(UserError, match=f"^params.yaml: the steps of it {sentence}"):
        check({"base": "trained", "it": "base"}, base=steps[:1], it=steps[1:])


@pytest.mark.parametrize(
    ("derived", "variants", "sentence"),
    [
        ({"it": "nothing"}, ["it"], "derived makes it from 'nothing': there are off_the_shelf, tr"),
        ({"that": "trained"}, ["that"], "derived makes 'that', which variant_defs does not def"),
        ({"it": "two", "two": "it"}, ["it"], "derived goes in a circle: it of two of it"),
        ({"it": "it"}, ["it"], "derived goes in a circle: it of it"),
        ({}, ["it"], "variants names 'it', but derived does not say .* add `it: trained`"),
        ({"it": "trained"}, ["trained"], "derived makes 'it', which no variant in use needs"),
    ],
)
def test_switches_that_disagree_are_a_sentence(derived, variants, sentence) -> None:
    with pytest.raises(UserError, match=f"^params.yaml: {sentence}"):
        check(derived, variants, it=[PRUNE], two=[PRUNE])


def test_a_network_from_elsewhere_can_be_made_smaller() -> None:
    steps = {"it": [Step(**PRUNE)]}
    check_variants(["it"], {"it": "theirs"}, steps, ["theirs"])
    with pytest.raises(UserError, match="derived makes it from 'trained': there are theirs, it"):
        check_variants(["it"], {"it": "trained"}, steps, ["theirs"])
    with pytest.raises(UserError, match=r"variant_defs names 'theirs', but .*, trained, theirs"):
        check_variants(["theirs"], {}, {"theirs": steps["it"]}, ["theirs"])


@pytest.mark.parametrize("name", ["trained", "a-b", "a b", ""])
def test_names_that_no_file_should_have_are_refused(name: str) -> None:
    with pytest.raises(UserError, match="a variant is part of file names"):
        check({}, ["trained2"], **{name: [PRUNE]})


def test_an_entry_without_steps_is_refused() -> None:
    with pytest.raises(UserError, match=r"variant_defs\.it needs at least one step"):
        check({}, ["trained2"], it=[])


@pytest.mark.parametrize(
    ("step", "sentence"),
    [
        ({"prune": {"fraction": 1.0, "by": "magnitude"}}, "less than 1"),
        ({"prune": {"fraction": 0.0, "by": "magnitude"}}, "greater than 0"),
        ({"sparsify": {"fraction": 1.0}}, "less than 1"),
        ({"prune": {"fraction": 0.3, "by": "change"}}, "by change looks at images: give"),
        ({"prune": {"fraction": 0.3, "by": "magnitude", "seed": 1}}, "by magnitude looks at no"),
        ({}, "a step should be one of prune, sparsify, finetune, quantise, round"),
        ({**PRUNE, **INT8}, "a step should be one of"),
        ({"prune": None}, "a step should be one of"),
        ({"quantise": {**INT8["quantise"], "to": "int4"}}, "should be 'int8'"),
    ],
)
def test_impossible_steps_are_a_sentence(step: dict, sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        Step(**step)
