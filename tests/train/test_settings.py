"""A recipe's learning: what contradicts itself is refused."""

from pathlib import Path

import pytest
import torch
import yaml
from pydantic import ValidationError

from vprlib.model import precision
from vprlib.train.settings import TrainSettings

ROOT = Path(__file__).parents[2]
BERLIN = yaml.safe_load((ROOT / "presets/berlin.yaml").read_text())


def test_params_yaml_says_all_of_how_the_network_learns() -> None:
    values = yaml.safe_load((ROOT / "params.yaml").read_text())["train"]
    assert TrainSettings(**values) and {*values, "kind"} == set(TrainSettings.model_fields)


@pytest.mark.parametrize("path", sorted((ROOT / "presets").glob("*.yaml")), ids=lambda p: p.stem)
def test_what_a_preset_changes_of_learning_is_valid(path: Path) -> None:
    assert TrainSettings(**yaml.safe_load(path.read_text()).get("train", {}))


def test_berlin_learns_as_in_the_class_challenge() -> None:
    berlin = TrainSettings(**BERLIN["train"])
    assert BERLIN["networks"] == {"heaputil": {"file": "heaputil_k16.pth.tar", "whitening": "keep"}}
    found = (berlin.train_queries, berlin.mining, berlin.positive)
    assert found == ("database", "random", "random")
    assert (berlin.queries_a_step, berlin.accumulate, berlin.negatives) == (1, 8, 1)
    assert (berlin.learning_rate, berlin.epochs, berlin.positive_radius_m) == (1e-5, 5, 50)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"mining": "random"}, "mining is random, which describes nothing and so cannot know the"),
        (
            {"mining": "random", "positive": "random", "skip_hardest": 2},
            "skip_hardest is 2, but random mining cannot know the hardest",
        ),
        ({"jitter": [1.2, 0.8]}, r"should be \[smallest, largest\] factor, but is \[1\.2, 0\.8\]"),
        ({"jitter": [0, 1]}, "greater than or equal to 0.1"),
        ({"jitter": 0.8}, "valid tuple"),
        ({"flip": 1.5}, "less than or equal to 1"),
        ({"accumulate": 0}, "greater than or equal to 1"),
        ({"validate_every": 0}, "greater than or equal to 1"),
        ({"learning_rate_factor": 1.0}, "less than 1"),
        ({"learning_rate_factor": 0.0}, "greater than 0"),
        ({"learning_rate_step": 0}, "greater than or equal to 1"),
        ({"val_queries": 0}, "greater than or equal to 1"),
        ({"skip_hardest": -1}, "greater than or equal to 0"),
        ({"mining": "none"}, "'full', 'partial' or 'random'"),
        ({"train_queries": "references"}, "'queries' or 'database'"),
        ({"epochs": True}, "epochs should not be true"),
        ({"exclude_same_spot": "no"}, "should be true or false, but is 'no'"),
        ({"seed": -1}, "greater than or equal to 0"),
    ],
)
def test_what_contradicts_itself_is_refused(values: dict, sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        TrainSettings(**values)


def test_auto_precision_is_resolved_on_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    for has, word in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr(precision, "has_bfloat16", lambda device, has=has: has)
        found = TrainSettings(precision="auto").resolved(torch.device("cpu"), print)
        assert found == TrainSettings(precision=word)
    assert TrainSettings().precision == "auto"


@pytest.mark.parametrize("mining", ["full", "partial"])
def test_a_random_positive_goes_with_mining_too(mining: str) -> None:
    assert TrainSettings(mining=mining, positive="random").positive == "random"
