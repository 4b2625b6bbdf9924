"""A recipe's learning: what contradicts itself is refused."""

from pathlib import Path

import pytest
import torch
import yaml
from pydantic import ValidationError

from vprlib.model import precision
from vprlib.train.settings import TrainSettings

RECIPES = yaml.safe_load((Path(__file__).parents[2] / "params.yaml").read_text())["recipes"]


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_says_how_it_learns(recipe: str) -> None:
    values = RECIPES[recipe]["train"]
    assert TrainSettings(**values) and set(values) == set(TrainSettings.model_fields)


def test_the_berlin_recipe_is_the_class_challenges() -> None:
    berlin = TrainSettings(**RECIPES["berlin"]["train"])
    assert RECIPES["berlin"]["kmeans"]["clusters"] == 16
    assert (berlin.train_queries, berlin.mining, berlin.positive) == (
        "database",
        "random",
        "random",
    )
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
        ({"jitter": [0, 1]}, "greater than 0"),
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
    assert TrainSettings(mining=mining, positive="random").rules().positive == "random"
