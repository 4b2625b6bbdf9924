"""Recipes of training in presets/parts/training.yaml: what `vpr use --train NAME` writes."""

import re
from collections.abc import Mapping

from vprlib.pipeline.params import UserError, nearest
from vprlib.pipeline.switches import PRESETS

RECIPES = PRESETS / "parts/training.yaml"
# of the section `train`, for both kinds of training: kept unless a recipe says something else
KEPT = (
    *("first_layer", "precision", "stored", "keep", "patience", "validate_every", "seed"),
    *("positive_radius_m", "negative_radius_m", "val_queries", "rank_loss_negatives"),
)


def read_recipes() -> dict[str, str]:
    """The lines of each recipe by its name, with their comments."""
    text = RECIPES.read_text(encoding="utf-8")
    return dict(re.findall(r"^(\w+):.*\n((?:  .*\n)+)", text, re.MULTILINE))


def with_recipe(block: str, name: str) -> str:
    """The lines of the section `train`, those above it included, with a recipe in it."""
    recipes = read_recipes()
    if name not in recipes:
        raise UserError(f"there is no recipe '{name}'{nearest(name, list(recipes))}.")
    found = re.fullmatch(r"((?:.*\n)*?train:.*\n)((?:.*\n)*)", block)
    assert found is not None, "the block has the line of its key"
    above, lines = found.groups()
    stated, kept = _by_key(recipes[name]), _by_key(lines)
    staying = [kept[key] for key in KEPT if key in kept and key not in stated]
    return above + recipes[name] + "".join(staying)


def recipe_of(block: str) -> str | None:
    """The recipe that a section `train` was written by and still holds whole."""
    lines = block.splitlines()
    for name, recipe in read_recipes().items():
        if set(recipe.splitlines()) <= set(lines):
            return name
    return None


def _by_key(lines: str) -> Mapping[str, str]:
    return {line.split(":")[0].strip(): line for line in lines.splitlines(keepends=True)}
