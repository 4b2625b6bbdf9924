"""The switches on top of params.yaml: what is trained, evaluated, and where its images are."""

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path, PurePosixPath

from vprlib.pipeline.params import PARAMS_PATH, Section, UserError

GIVEN = ("off_the_shelf", "trained")  # the variants that init_model and train make
CITY = "city"  # the folder that make_city fills


class SetPlace(Section):
    """Where a set in use lies below data/raw."""

    folder: str  # of the images, or a link to it
    file: str  # inside that folder, what lists the images; '' where the folder itself does


def check(
    train_on: str,
    eval_on: Sequence[str],
    calibrate_on: str,
    variants: Sequence[str],
    codes: Sequence[str],
    code_defs: Collection[str],
    sets: Mapping[str, SetPlace],
    variant_defs: Collection[str] = (),
) -> None:
    """Every set in use stands in `sets`, one that is evaluated calibrates, and names exist."""
    known_variants = (*GIVEN, *variant_defs)
    for name in (f"{train_on}_train", f"{train_on}_val", *eval_on):
        if name not in sets:
            switch = "eval_on" if name in eval_on else f"train_on: {train_on}"
            raise UserError(
                f"{PARAMS_PATH}: {switch} needs the set '{name}', which `sets` does not list:"
                f" add `{name}: {{folder: …, file: …}}` there (it has {', '.join(sets)})."
            )
    for switch, names, known in (
        ("variants", variants, known_variants),
        ("codes", codes, code_defs),
    ):
        for name in names:
            if name not in known:
                raise UserError(
                    f"{PARAMS_PATH}: {switch} names '{name}'; there are {', '.join(known)}."
                )
    for switch, names in (("eval_on", eval_on), ("variants", variants), ("codes", codes)):
        if not names or len(set(names)) < len(names):
            raise UserError(f"{PARAMS_PATH}: {switch} should name at least one, each once.")
    if calibrate_on not in eval_on:
        raise UserError(
            f"{PARAMS_PATH}: calibrate_on is '{calibrate_on}', but should be one of eval_on"
            f" ({', '.join(eval_on)}): add it there, or name one of these."
        )
    for name in code_defs:
        if not re.fullmatch(r"\w+", name):
            raise UserError(
                f"{PARAMS_PATH}: code_defs names '{name}', but files are named by a code: use"
                " letters, digits and _ alone."
            )
    for name, place in sets.items():
        for field, value in place:
            path = PurePosixPath(value)
            if path.is_absolute() or ".." in path.parts:
                raise UserError(
                    f"{PARAMS_PATH}: sets.{name}.{field} is '{value}', but should be a path"
                    " below data/raw."
                )


def check_whitened(wanted: Mapping[str, int], lengths: Mapping[str, int]) -> None:
    """By code the dimensions to whiten to: no more than a descriptor of any variant has."""
    for name, dimensions in wanted.items():
        for variant, length in lengths.items():
            if dimensions > length:
                raise UserError(
                    f"{PARAMS_PATH}: code_defs.{name}.whiten is {dimensions}, but a descriptor of"
                    f" {variant} has only {length} dimensions: lower it, or take another code."
                )


def check_specifications(sets: Mapping[str, SetPlace], raw: Path) -> None:
    """Every set in use but those of the city, which is yet to be drawn, has its file."""
    for name, place in sets.items():
        path = raw / place.folder / place.file
        if place.folder != CITY and not path.exists():
            raise UserError(
                f"{path} is missing: link the folder that holds the images of {name} as"
                f" {raw / place.folder}, or take {name} out of `sets` in {PARAMS_PATH}."
            )
