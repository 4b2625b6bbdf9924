"""What presets/parts holds: definitions by name, and recipes of training."""

import re
from collections.abc import Mapping

from vprlib.pipeline.params import JsonObject, UserError, nearest, read_params_file
from vprlib.pipeline.switches import PRESETS

RECIPES = PRESETS / "parts/training.yaml"
# of the section `train`, for both kinds of training: kept unless a recipe says something else
KEPT = (
    *("first_layer", "precision", "stored", "keep", "patience", "validate_every", "seed"),
    *("positive_radius_m", "negative_radius_m", "val_queries", "rank_loss_negatives"),
)


def split(block: str, key: str) -> tuple[str, str, str]:
    """The comments above a key, its own line, and what belongs to it below."""
    found = re.fullmatch(rf"((?:.*\n)*?)({key}:.*\n)((?:.*\n)*)", block)
    assert found is not None, "each block has the line of its key"
    return found[1], found[2], found[3]


def part(kind: str, name: str) -> JsonObject:
    """A definition of presets/parts."""
    known = parts_of(kind)
    if name not in known:
        raise UserError(f"{kind} has no '{name}'{nearest(name, list(known))}.")
    return known[name]


def parts_of(kind: str) -> JsonObject:
    return read_params_file(PRESETS / f"parts/{kind}.yaml")


def source_of(network: str) -> str:
    """Where the file of a published network is obtained."""
    text = (PRESETS / "parts/networks.yaml").read_text(encoding="utf-8")
    found = re.search(rf"^{re.escape(network)}:  # (.*)$", text, re.MULTILINE)
    assert found is not None, "each network says where its file comes from"
    return found[1]


def read_recipes() -> dict[str, str]:
    """The lines of each recipe by its name, with their comments."""
    text = RECIPES.read_text(encoding="utf-8")
    return dict(re.findall(r"^(\w+):.*\n((?:  .*\n)+)", text, re.MULTILINE))


def with_recipe(block: str, name: str) -> str:
    """The lines of the section `train`, those above it included, with a recipe in it."""
    recipes = read_recipes()
    if name not in recipes:
        raise UserError(f"there is no recipe '{name}'{nearest(name, list(recipes))}.")
    above, line, lines = split(block, "train")
    stated, kept = _by_key(recipes[name]), _by_key(lines)
    staying = [kept[key] for key in KEPT if key in kept and key not in stated]
    return above + line + recipes[name] + "".join(staying)


def recipe_of(block: str) -> str | None:
    """The recipe that a section `train` was written by and still holds whole."""
    lines = block.splitlines()
    for name, recipe in read_recipes().items():
        if set(recipe.splitlines()) <= set(lines):
            return name
    return None


def _by_key(lines: str) -> Mapping[str, str]:
    return {line.split(":")[0].strip(): line for line in lines.splitlines(keepends=True)}
