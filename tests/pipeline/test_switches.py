"""The switches on top of params.yaml agree with each other, or one sentence says where not."""

import pytest

from vprlib.pipeline.params import UserError
from vprlib.pipeline.switches import SetPlace, check

GOOD = {
    "train_on": "city",
    "eval_on": ["city_test"],
    "calibrate_on": "city_test",
    "variants": ["off_the_shelf", "trained"],
    "codes": ["full"],
    "code_defs": ["full", "w4"],
    "sets": {
        n: SetPlace(folder="city", file="x.mat") for n in ("city_train", "city_val", "city_test")
    },
}


def test_switches_that_agree_pass() -> None:
    assert check(**GOOD) is None


@pytest.mark.parametrize("folder", ["city", "a/b", "..b", "x..y"])
def test_a_folder_below_data_raw_passes(folder: str) -> None:
    check(**GOOD | {"sets": GOOD["sets"] | {"other": SetPlace(folder=folder, file="x.mat")}})


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"train_on": "pitts"}, r"train_on: pitts needs the set 'pitts_train', which `sets` does"),
        (
            {"eval_on": ["city_test", "tokyo"]},
            r"eval_on needs the set 'tokyo'.*add `tokyo: {folder",
        ),
        (
            {"sets": {"city_train": SetPlace(folder="c", file="x")}},
            r"train_on: city needs the set 'city_val'.*\(it has city_train\)",
        ),
        ({"variants": ["trainde"]}, r"variants names 'trainde'; there are off_the_shelf, trained"),
        ({"codes": ["full", "pca"]}, r"codes names 'pca'; there are full, w4\."),
        (
            {"calibrate_on": "city_val"},
            r"calibrate_on is 'city_val', but should be one of eval_on \(city_test\)",
        ),
        ({"eval_on": []}, r"eval_on should name at least one, each once"),
        ({"eval_on": ["city_test"] * 2}, r"eval_on should name at least one, each once"),
        ({"variants": []}, r"variants should name at least one, each once"),
        ({"variants": ["trained"] * 2}, r"variants should name at least one, each once"),
        ({"code_defs": ["full", "w-4"]}, r"code_defs names 'w-4', but files are named by a code"),
        ({"codes": []}, r"codes should name at least one, each once"),
    ],
)
def test_switches_that_disagree_are_one_sentence(changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(UserError, match=f"^params.yaml: {sentence}"):
        check(**GOOD | changes)


@pytest.mark.parametrize("folder", ["/data/city", "../city", "a/../../b"])
def test_a_folder_outside_data_raw_is_refused(folder: str) -> None:
    with pytest.raises(
        UserError, match=r"sets\.other\.folder is '.*', but should be a path below data"
    ):
        check(**GOOD | {"sets": GOOD["sets"] | {"other": SetPlace(folder=folder, file="x.mat")}})
