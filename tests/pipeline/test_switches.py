"""The switches on top of params.yaml agree with each other, or one sentence says where not."""

from pathlib import Path

import pytest

from vprlib.pipeline.params import UserError
from vprlib.pipeline.switches import (
    Switches,
    check,
    check_files,
    check_teacher,
    check_whitened,
)

SETS = ["city_train", "city_val", "city_test"]
CODES = ["full", "w4"]
GOOD = Switches(
    init_on=["city_train"],
    train_on=["city_train"],
    validate_on="city_val",
    start="off_the_shelf",
    eval_on=["city_test"],
    rerank_on=[],
    calibrate_on="city_test",
    variants=["off_the_shelf", "trained"],
    networks={},
    derived={},
    codes=["full"],
    fitted=[],
    fit_on=[],
)
FITTED = {"codes": CODES, "fitted": ["w4"], "fit_on": ["city_train"]}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        FITTED,
        {"train_on": [], "variants": ["off_the_shelf"], "validate_on": "unused"},
        {"init_on": [], "networks": {"theirs": None}, "start": "theirs", "variants": ["trained"]},
        {"init_on": [], "train_on": [], "networks": {"theirs": None}, "variants": ["theirs"]},
        {"derived": {"int8": "trained"}, "variants": ["trained", "int8"]},
        {"rerank_on": ["city_test"]},
    ],
)
def test_switches_that_agree_pass(changes: dict[str, object]) -> None:
    assert check(GOOD.model_copy(update=changes), SETS, CODES) is None


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"train_on": ["city"]}, r"train_on names 'city'; .*; add it to `datasets`"),
        ({"train_on": SETS[:2]}, r"train_on names 2 sets, but may name only one"),
        ({"init_on": SETS}, r"init_on names 3 sets, but may name only one"),
        ({"eval_on": ["city_test", "tokyo"]}, r"eval_on names 'tokyo'; there are: city_train, cit"),
        ({"validate_on": "city_vla"}, r"validate_on names 'city_vla'; did you mean 'city_val'\?"),
        ({"variants": ["trainde"]}, r"variants names 'trainde'; did you mean 'trained'\?"),
        ({"train_on": []}, r"variants names 'trained', but train_on is \[\]: name a set there"),
        ({"init_on": []}, r"variants names 'off_the_shelf', but init_on is \[\]: name a set"),
        ({"networks": ["trained"]}, r"networks names 'trained', but train_on makes it: choose"),
        ({"start": "theirs"}, r"start names 'theirs'; .*off_the_shelf.*; name one of them"),
        ({"start": "trained"}, r"start names 'trained'; .*off_the_shelf.*; name one of them"),
        (
            {"train_on": [], "variants": ["off_the_shelf"], "derived": {"int8": "off_the_shelf"}},
            r"derived variants need training images, but train_on is \[\]: name a set there",
        ),
        ({"codes": ["full", "pca"]}, r"codes names 'pca'; there are: full, w4; add it to `code_d"),
        (
            {"calibrate_on": "city_val"},
            r"calibrate_on is 'city_val', but should be one of eval_on \(city_test\)",
        ),
        (
            {"rerank_on": ["city_test", "city_val"]},
            r"rerank_on names 'city_val', but should be one of eval_on \(city_test\): add it to",
        ),
        ({"rerank_on": ["city_test"] * 2}, r"rerank_on should have no entry twice"),
        ({"codes": CODES}, r"fitted is \[\], but should be \[w4\]: all codes except full"),
        (FITTED | {"fitted": CODES}, r"fitted is \[full, w4\], but should be \[w4\]: all"),
        (FITTED | {"fit_on": []}, r"fit_on is \[\], but fitted is \[w4\]: name the set that"),
        (FITTED | {"fit_on": ["city"]}, r"fit_on names 'city'; .*; add it to `datasets`"),
        (
            {"networks": ["theirs"], "variants": ["their"]},
            r"variants names 'their'; did .*'theirs'",
        ),
        ({"fit_on": ["city_train"]}, r"fit_on is \[city_train\], but fitted is \[\]: set it to"),
        ({"eval_on": []}, r"eval_on should have at least one entry"),
        ({"eval_on": ["city_test"] * 2}, r"eval_on should have at least one entry"),
        ({"variants": []}, r"variants should have at least one entry"),
        ({"variants": ["trained"] * 2}, r"variants should have at least one entry"),
        ({"codes": []}, r"codes should have at least one entry"),
    ],
)
def test_switches_that_disagree_are_one_sentence(changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(UserError, match=rf"^params\.yaml: {sentence}.*\.$"):
        check(GOOD.model_copy(update=changes), SETS, CODES)


def test_names_that_no_file_should_have_are_refused() -> None:
    with pytest.raises(UserError, match="code_defs names 'w-4', but it is part of file names"):
        check(GOOD, SETS, ["full", "w-4"])
    with pytest.raises(UserError, match="datasets names 'a/b', but it is part of file names"):
        check(GOOD, [*SETS, "a/b"], CODES)


def test_more_dimensions_than_a_descriptor_has_are_refused() -> None:
    check_whitened({"w4": 4}, {"trained": 4, "small": 8})
    with pytest.raises(UserError, match=r"w4\.keep\.whiten is 4, but .* of small has only 3 dim"):
        check_whitened({"w4": 4}, {"trained": 4, "small": 3})


def check_place(raw: Path, folder: str, listing: str = "x.mat") -> None:
    check_files({"other": (folder, listing)}, [], raw, raw / "weights")


@pytest.mark.parametrize("folder", ["a/b", "..b", "x..y"])
def test_a_folder_below_data_raw_passes(tmp_path: Path, folder: str) -> None:
    (tmp_path / folder).mkdir(parents=True)
    (tmp_path / folder / "x.mat").touch()
    check_place(tmp_path, folder)


@pytest.mark.parametrize(
    ("place", "key"),
    [
        (("/data/city",), "folder"),
        (("../city",), "folder"),
        (("a/../../b",), "folder"),
        (("city", "/x.mat"), "list"),
        (("city", "../x.mat"), "list"),
    ],
)
def test_a_path_outside_data_raw_is_refused(
    tmp_path: Path, place: tuple[str, ...], key: str
) -> None:
    sentence = rf"datasets\.other\.{key} is '.*', but should be a path below {tmp_path}"
    with pytest.raises(UserError, match=sentence):
        check_place(tmp_path, *place)


def test_missing_lists_and_networks_are_named_but_the_city_is_yet_to_be_drawn(
    tmp_path: Path,
) -> None:
    check_place(tmp_path, "city")
    with pytest.raises(UserError, match=r"a/x\.mat is missing: link the folder .* of other as"):
        check_place(tmp_path, "a")
    (tmp_path / "a").mkdir()
    sentence = r"a/x\.mat is missing, though .*/a is there: put it there, or correct datasets"
    with pytest.raises(UserError, match=sentence):
        check_place(tmp_path, "a")
    with pytest.raises(UserError, match=r"weights/m\.pth is missing: put or link the network"):
        check_files({}, ["m.pth"], tmp_path, tmp_path / "weights")


THEIRS = {"networks": {"theirs": None}}


@pytest.mark.parametrize(
    ("changes", "teacher"),
    [
        ({}, "none"),
        (THEIRS, "theirs"),
        (THEIRS | {"start": "theirs"}, "off_the_shelf"),
        ({"train_on": [], "variants": ["off_the_shelf"]}, "unused"),
    ],
)
def test_a_teacher_that_is_there_before_training_passes(changes: dict, teacher: str) -> None:
    assert check_teacher(GOOD.model_copy(update=changes), teacher) is None


@pytest.mark.parametrize(
    ("changes", "teacher", "sentence"),
    [
        ({}, "trained", r"train.teacher names 'trained'; .*name it in `networks`"),
        ({"derived": {"int8": "trained"}}, "int8", r"train.teacher names 'int8'; "),
        (THEIRS, "their", r"train.teacher names 'their'; did you mean 'theirs'\?"),
        ({"init_on": []} | THEIRS, "off_the_shelf", r"train.teacher names 'off_the_shelf'"),
        ({}, "off_the_shelf", r"train.teacher and start both name 'off_the_shelf', but a student"),
        ({"networks": {"none": None}}, "none", r"networks names 'none', which stands for no netw"),
    ],
)
def test_a_teacher_that_is_not_is_refused(changes: dict, teacher: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        check_teacher(GOOD.model_copy(update=changes), teacher)
