"""Reads params.yaml: each section is a frozen, strict object, and each mistake one sentence."""

import difflib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Self, get_args, get_type_hints

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

PARAMS_PATH = Path("params.yaml")
DEEPEST, WIDEST = 20, 100_000  # levels of params.yaml, and entries of a level
JsonObject = dict[str, Any]  # what JSON and YAML hold: its values are of any kind
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # in C five times faster
# The names that may stand in params.yaml above the sections, so that a misspelt one is found
# although each stage reads only its own part; '*' stands for any name.
SKELETON = {
    "": "init_on train_on validate_on start eval_on rerank_on calibrate_on variants networks"
    " derived codes fitted fit_on photos datasets model sample kmeans train whitening code_defs"
    " variant_defs extraction search recall interval compare audit failures confidence rerank"
    " runtime city",
    "model": "backbone pool",
    "extraction": "precision stored unreadable",
    "rerank": "top keypoints short_side ratio",
    "whitening": "descriptors dimensions seed",
    "city": "scene parts",
    "photos.*": "sessions words thin self_test clock_ahead_h seed",
    "datasets.*": "folder list layout images radius_m protocol utm_zone",
    "code_defs.*": "keep index search",
}


Seed = Annotated[int, Field(ge=0, lt=2**31)]
# for a parameter that a stage reads alone; strict: pydantic would read true as 1
Count = Annotated[int, Field(ge=1, le=10**9, strict=True)]
Clusters = Annotated[int, Field(ge=1, le=2**14)]  # visual words
Metres = Annotated[float, Field(gt=0, le=1e8, allow_inf_nan=False)]
SampleSeed = Annotated[Seed, Field(strict=True)]
Names = Annotated[list[str], Field(min_length=1)]


class UserError(Exception):
    """Something a user, a file or a parameter caused; its text is the one sentence shown."""


class Section(BaseModel):
    """One mapping of params.yaml; unknown keys are refused, and nothing can be changed later."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _no_number_for_a_truth(cls, values: object) -> object:
        """pydantic would read true as 1 and 'no' as false."""
        for name, value in values.items() if isinstance(values, dict) else ():
            wants_truth = name in cls.model_fields and cls.model_fields[name].annotation is bool
            if wants_truth and not isinstance(value, bool):
                raise ValueError(f"{name} should be true or false, but is {value!r}")
            if isinstance(value, bool) and not wants_truth and name in cls.model_fields:
                raise ValueError(f"{name} should not be {str(value).lower()}")
        return values


class At(str):
    """Where in params.yaml a field of a StageParams stands, such as 'datasets.{dataset}.images'."""


class StageParams(BaseModel):
    """All that one stage reads from params.yaml; each field is `Annotated[type, At(place)]`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def places(cls, **names: str) -> dict[str, str]:
        """Field name → dotted place in params.yaml, with `names` filled in."""
        hints = get_type_hints(cls, include_extras=True)
        fields = {name: get_args(hints[name])[1:] for name in cls.model_fields}
        return {
            name: next(m for m in metadata if isinstance(m, At)).format(**names)
            for name, metadata in fields.items()
        }

    @classmethod
    def load(cls, **names: str) -> Self:
        """Reads exactly the places of this class; `names` fill the braces in them."""
        return cls.of(read_params_file(PARAMS_PATH), **names)

    @classmethod
    def of(cls, tree: dict[str, object], **names: str) -> Self:
        """The same from what params.yaml holds, or would hold."""
        check_skeleton(tree)
        places = cls.places(**names)
        values = {name: look_up(tree, place) for name, place in places.items()}
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise UserError(_explain(cls, error, places, values)) from None


def read_params_file(path: Path) -> dict[str, object]:
    """The whole file as plain dictionaries and lists."""
    try:
        tree = yaml.load(path.read_text(encoding="utf-8"), LOADER)
    except FileNotFoundError:
        raise UserError(
            f"{path} is missing: go to the folder of the project, the one that holds"
            f" {PARAMS_PATH} and dvc.yaml, and run again."
        ) from None
    except OSError:
        raise
    except Exception as error:  # PyYAML converts words by Python's own functions
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path} is not valid YAML: {reason}.") from None
    if not isinstance(tree, dict):
        raise UserError(f"{path} should be a mapping of sections, but is a {type(tree).__name__}.")
    _check_size(tree, path)
    return tree


def _check_size(tree: object, path: Path) -> None:
    """Refuses what a few lines of YAML can make: endless nesting, and numbers like no other."""
    level = [tree]
    for _ in range(DEEPEST):
        below = [list(node.values()) if isinstance(node, dict) else node for node in level]
        level = [child for node in below if isinstance(node, list) for child in node]
        if any(isinstance(value, int) and abs(value) >= 2**63 for value in level):
            raise UserError(f"{path} holds a whole number of more than 18 digits: make it smaller.")
        if not level or len(level) > WIDEST:
            break
    if level:
        raise UserError(
            f"{path} nests deeper than {DEEPEST} levels, or has over {WIDEST} entries in one: it"
            " may repeat an alias (*name); write less."
        )


def check_skeleton(tree: dict[str, object]) -> None:
    """Refuses a name above the sections that nothing would ever read."""
    for pattern, names in SKELETON.items():
        for place, node in _matching(tree, pattern):
            unknown = [str(key) for key in node if str(key) not in names.split()]
            if unknown:
                inside = f"{place} has no" if place else "there is no section"
                near = nearest(unknown[0], names.split())
                raise UserError(f"{PARAMS_PATH}: {inside} '{unknown[0]}'{near}.")


def _matching(tree: dict[str, object], pattern: str) -> list[tuple[str, dict[str, object]]]:
    """The mappings at the places that a pattern such as 'datasets.*' means."""
    found: list[tuple[str, object]] = [("", tree)]
    for part in pattern.split(".") if pattern else []:
        found = [
            (f"{place}.{key}".lstrip("."), value)
            for place, node in found
            if isinstance(node, dict)
            for key, value in node.items()
            if part in ("*", key)
        ]
    return [(place, node) for place, node in found if isinstance(node, dict)]


def look_up(tree: dict[str, object], place: str) -> object:
    """The value at a dotted place; an error names the missing part."""
    node: object = tree
    walked: list[str] = []
    for key in place.split("."):
        where = ".".join(walked)
        if not isinstance(node, dict):
            raise UserError(f"{PARAMS_PATH}: {where} should be a mapping with '{key}' in it.")
        node = {str(name): value for name, value in node.items()}  # 247 is a name too
        if key not in node:
            near = nearest(key, [str(k) for k in node])
            inside = f"{where} has no '{key}'" if where else f"there is no section '{key}'"
            raise UserError(f"{PARAMS_PATH}: {inside}{near}.")
        node = node[key]
        walked.append(key)
    return node


def nearest(key: str, known: list[str]) -> str:
    """Ends a sentence about an unknown name: the most similar one that exists, or all."""
    matches = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    if matches:
        return f"; did you mean '{matches[0]}'?" + f" (there are: {', '.join(known)})"
    return f"; there are: {', '.join(known)}" if known else "; it is empty"


def _explain(
    cls: type[StageParams],
    error: ValidationError,
    places: dict[str, str],
    values: dict[str, object],
) -> str:
    """The first thing that pydantic found wrong, as one sentence with its place."""
    first = error.errors(include_url=False)[0]
    field, *path = first["loc"]
    names = _keys(values[str(field)], path, first["type"] == "missing")
    if first["type"].startswith("union_tag"):  # of sections told apart by one key
        return _wrong_kind(".".join([places[str(field)], *names]), first["ctx"])
    place = ".".join([places[str(field)], *names])
    holder = place.rpartition(".")[0]
    if first["type"] == "extra_forbidden":
        known = _known_keys(cls, str(field), names[:-1], values[str(field)])
        return f"{PARAMS_PATH}: {holder} has no '{names[-1]}'{nearest(names[-1], known)}."
    if first["type"] == "missing":
        return f"{PARAMS_PATH}: {holder} lacks '{names[-1]}'."
    if first["type"] == "value_error":
        return f"{PARAMS_PATH}: {place}: {first['ctx']['error']}."
    problem = first["msg"][0].lower() + first["msg"][1:]
    return f"{PARAMS_PATH}: {place} is {first['input']!r}: {problem}."


def _wrong_kind(place: str, context: dict[str, str]) -> str:
    key = context["discriminator"].strip("'").partition("(")[0]
    key = key if key.isidentifier() and not key.startswith("_") else "kind"
    if "tag" not in context:
        return f"{PARAMS_PATH}: {place} lacks '{key}'."
    known = re.findall(r"'(\w+)'", context["expected_tags"])
    return f"{PARAMS_PATH}: {place}.{key} is '{context['tag']}'{nearest(context['tag'], known)}."


def _keys(node: object, path: Sequence[str | int], is_missing: bool) -> list[str]:
    """The parts of a pydantic location that are keys; the name of a union's branch is none."""
    keys = []
    for at, part in enumerate(path, 1):
        if isinstance(node, dict):
            if part not in node and not (is_missing and at == len(path)):
                continue
            node = node.get(part)
        elif isinstance(node, list) and isinstance(part, int):
            node = node[part] if part < len(node) else None
        else:
            continue
        keys.append(str(part))
    return keys


def _known_keys(cls: type[StageParams], field: str, names: list[str], node: object) -> list[str]:
    """The keys that the section at `field`, and `names` below it, may hold; `node` is its value."""
    kind: object = _branch(cls.model_fields[field].annotation, node)
    for name in names:
        fields = getattr(kind, "model_fields", {})
        arguments = [a for a in get_args(kind) if a is not type(None)]
        if name in fields:
            kind = fields[name].annotation
        elif arguments:
            kind = arguments[-1]
        node = node.get(name) if isinstance(node, dict) else None
        kind = _branch(kind, node)
    while get_args(kind) and not hasattr(kind, "model_fields"):
        kind = next(a for a in get_args(kind)[::-1] if a is not type(None))
    return list(getattr(kind, "model_fields", {}))


def _branch(kind: object, node: object) -> object:
    """Of a union of sections that differ by their `kind`, the one that a mapping is."""
    for option in get_args(kind):
        section = getattr(option, "__origin__", option)  # of Annotated
        own = getattr(section, "model_fields", {}).get("kind")
        if own is None or not isinstance(node, dict):
            continue
        if node.get("kind", own.default) in get_args(own.annotation):
            return section
    return kind
