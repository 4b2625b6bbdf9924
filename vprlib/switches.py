"""The switches on top of params.yaml: what is trained, evaluated, and where its images are."""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from vprlib.params import PARAMS_PATH, UserError

VARIANTS = ("off_the_shelf", "trained")
CODES = ("full",)
CITY = "city"  # the folder that make_city fills


def check(
    train_on: str,
    eval_on: Sequence[str],
    variants: Sequence[str],
    codes: Sequence[str],
    sets: Mapping[str, str],
) -> None:
    """Every set that is trained or evaluated on stands in `sets`; every variant and code exists."""
    for name in (f"{train_on}_train", f"{train_on}_val", *eval_on):
        if name not in sets:
            switch = "eval_on" if name in eval_on else f"train_on: {train_on}"
            raise UserError(
                f"{PARAMS_PATH}: {switch} needs the set '{name}', which `sets` does not list:"
                f" add `{name}: <its folder below data/raw>` there (it has {', '.join(sets)})."
            )
    for switch, names, known in (("variants", variants, VARIANTS), ("codes", codes, CODES)):
        for name in names:
            if name not in known:
                raise UserError(
                    f"{PARAMS_PATH}: {switch} names '{name}'; there are {', '.join(known)}."
                )
    for switch, names in (("eval_on", eval_on), ("variants", variants), ("codes", codes)):
        if not names or len(set(names)) < len(names):
            raise UserError(f"{PARAMS_PATH}: {switch} should name at least one, each once.")
    for name, folder in sets.items():
        if PurePosixPath(folder).is_absolute() or ".." in PurePosixPath(folder).parts:
            raise UserError(
                f"{PARAMS_PATH}: sets.{name} is '{folder}', but should be a folder below data/raw."
            )


def check_specifications(sets: Mapping[str, str], raw: Path) -> None:
    """Every set in use but those of the city, which is yet to be drawn, has its file."""
    for name, folder in sets.items():
        path = raw / folder / "datasets" / f"{name}.mat"
        if folder != CITY and not path.exists():
            raise UserError(
                f"{path} is missing: link the folder that holds the images of {name} and its"
                f" `datasets` as {raw / folder}, or take {name} out of `sets` in {PARAMS_PATH}."
            )
