"""What presets/parts holds: definitions by name, and recipes of training."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from vprlib.pipeline.params import JsonObject, UserError, nearest, read_params_file
from vprlib.pipeline.switches import NO_TEACHER, PRESETS

RECIPES = PRESETS / "parts/training.yaml"
# of the section `train`, for all kinds of training: kept unless a recipe says something else
KEPT = (
    *("first_layer", "precision", "stored", "keep", "patience", "validate_every", "seed"),
    *("val_queries", "rank_loss_negatives"),
)
RADII = ("positive_radius_m", "negative_radius_m")  # kept too, but a student has none


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


@dataclass(frozen=True)
class Recipe:
    name: str
    teacher: str | None = None  # instead of the one that a recipe of distillation names


def with_recipe(block: str, recipe: Recipe) -> str:
    """The lines of the section `train`, those above it included, with a recipe in it."""
    recipes = read_recipes()
    if recipe.name not in recipes:
        raise UserError(f"there is no recipe '{recipe.name}'{nearest(recipe.name, list(recipes))}.")
    above, line, lines = split(block, "train")
    stated, kept = _by_key(recipes[recipe.name]), _by_key(lines)
    staying = [kept[key] for key in KEPT if key in kept and key not in stated]
    own = part("training", recipe.name)["teacher"]
    if own == NO_TEACHER:
        staying += [kept.get(key, f"  {key}: null\n") for key in RADII]
        if recipe.teacher is not None:
            raise UserError(
                f"the recipe {recipe.name} has no teacher: leave out --teacher, or use distil."
            )
    teacher = recipe.teacher or own
    if not re.fullmatch(r"\w+", teacher):
        raise UserError(f"--teacher is '{teacher}', but the name of a network is a word.")
    written = re.sub(r"teacher: \w+", f"teacher: {teacher}", recipes[recipe.name], count=1)
    return above + line + written + "".join(staying)


def recipe_of(block: str) -> Recipe | None:
    """The recipe that a section `train` was written by and still holds whole."""
    found = re.search(r"^  teacher: (\S+)", block, re.MULTILINE)
    teacher = found[1] if found and found[1] != NO_TEACHER else None
    for name in read_recipes():
        if (part("training", name)["teacher"] == NO_TEACHER) != (teacher is None):
            continue
        recipe = Recipe(name, teacher)
        if set(with_recipe(block, recipe).splitlines()) <= set(block.splitlines()):
            return recipe
    return None


def _by_key(lines: str) -> Mapping[str, str]:
    return {line.split(":")[0].strip(): line for line in lines.splitlines(keepends=True)}
