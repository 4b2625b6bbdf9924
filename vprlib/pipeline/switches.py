"""Checks that the names in params.yaml agree with each other before anything is computed."""

import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import ConfigDict

from vprlib.pipeline.inside import Name
from vprlib.pipeline.params import PARAMS_PATH, At, Section, StageParams, UserError, nearest

PRESETS = Path("presets")
CITY = "city"  # the folder that make_city fills
LISTED = "list.csv"  # what list_photos writes
OWN = ("off_the_shelf", "trained")  # the variants that init_model and train make
NO_TEACHER = "none"  # of a network that learns from labels
FULL = "full"  # the code that keeps descriptors as they are


class SetFiles(Section):
    """The files of an entry of `datasets`."""

    model_config = ConfigDict(extra="ignore")

    folder: Name
    list: Name


class Switches(StageParams):
    """The names at the top of params.yaml."""

    init_on: Annotated[list[str], At("init_on")]
    train_on: Annotated[list[str], At("train_on")]
    validate_on: Annotated[str, At("validate_on")]
    start: Annotated[str, At("start")]
    eval_on: Annotated[list[str], At("eval_on")]
    rerank_on: Annotated[list[str], At("rerank_on")]
    calibrate_on: Annotated[str, At("calibrate_on")]
    variants: Annotated[list[str], At("variants")]
    networks: Annotated[Mapping[str, object], At("networks")]
    derived: Annotated[dict[str, str], At("derived")]
    codes: Annotated[list[str], At("codes")]
    fitted: Annotated[list[str], At("fitted")]
    fit_on: Annotated[list[str], At("fit_on")]

    @property
    def given(self) -> list[str]:
        """The variants that are not derived from others."""
        own = [name for name, on in zip(OWN, (self.init_on, self.train_on), strict=True) if on]
        return [*own, *self.networks]


def check(s: Switches, datasets: Collection[str], code_defs: Collection[str]) -> None:
    """Every name that is used exists, once, and lists that belong together agree."""
    for switch in ("init_on", "train_on", "fit_on"):
        if len(getattr(s, switch)) > 1:
            _refuse(f"{switch} names {len(getattr(s, switch))} sets, but may name only one")
    for switch in ("eval_on", "variants", "codes"):
        names = getattr(s, switch)
        if not names or len(set(names)) < len(names):
            _refuse(f"{switch} should have at least one entry, and no entry twice")
    if len(set(s.rerank_on)) < len(s.rerank_on):
        _refuse("rerank_on should have no entry twice")
    sets = {switch: getattr(s, switch) for switch in ("init_on", "train_on", "fit_on", "eval_on")}
    sets["validate_on"] = [s.validate_on] if s.train_on else []
    for switch, names in sets.items():
        _check_known(switch, names, datasets, "add it to `datasets`")
    _check_variants(s)
    _check_known("codes", s.codes, code_defs, "add it to `code_defs`")
    named = {"calibrate_on is": [s.calibrate_on], "rerank_on names": s.rerank_on}
    for says, name in ((says, name) for says, names in named.items() for name in names):
        if name not in s.eval_on:
            _refuse(
                f"{says} '{name}', but should be one of eval_on ({', '.join(s.eval_on)}): add it to"
                " eval_on, or use one of these"
            )
    fitted = [name for name in s.codes if name != FULL]
    if sorted(s.fitted) != sorted(fitted):
        _refuse(
            f"fitted is {_shown(s.fitted)}, but should be {_shown(fitted)}: all codes except {FULL}"
        )
    if bool(s.fitted) != bool(s.fit_on):
        wanted = "name the set that they are fitted on" if s.fitted else "set it to []"
        _refuse(f"fit_on is {_shown(s.fit_on)}, but fitted is {_shown(s.fitted)}: {wanted}")
    for section, names in (("code_defs", code_defs), ("datasets", datasets)):
        for name in names:
            if not re.fullmatch(r"\w+", name):
                _refuse(
                    f"{section} names '{name}', but it is part of file names: use only"
                    " letters, digits and _"
                )


def _check_variants(s: Switches) -> None:
    for name, switch in zip(OWN, ("init_on", "train_on"), strict=True):
        if name in s.variants and not getattr(s, switch):
            _refuse(f"variants names '{name}', but {switch} is []: name a set there")
        if name in s.networks:
            _refuse(f"networks names '{name}', but {switch} makes it: choose another name")
    _check_known("variants", s.variants, [*s.given, *s.derived], "see `networks` and `derived`")
    starts = [name for name in s.given if name != OWN[1]]
    if s.train_on:
        _check_known("start", [s.start], starts, "name one of them")
    if s.derived and not s.train_on:
        _refuse("derived variants need training images, but train_on is []: name a set there")


def check_teacher(s: Switches, teacher: str) -> None:
    """A teacher is there before training, and is not the student itself."""
    if NO_TEACHER in s.networks:
        _refuse(f"networks names '{NO_TEACHER}', which stands for no network: choose another name")
    if teacher == NO_TEACHER or not s.train_on:
        return
    known = [name for name in s.given if name != OWN[1]]
    advice = "of another network put the file in data/raw/weights and name it in `networks`"
    _check_known("train.teacher", [teacher], known, advice)
    if teacher == s.start:
        _refuse(
            f"train.teacher and start both name '{teacher}', but a student learns from another"
            " network: name another teacher, or start from another network"
        )


def _check_known(switch: str, names: Iterable[str], known: Collection[str], advice: str) -> None:
    for name in names:
        if name not in known:
            if preset := preset_with_set(name):
                _refuse(f"{switch} names '{name}', which is not in use: type `vpr use {preset}`")
            _refuse(f"{switch} names '{name}'{nearest(name, list(known))}; {advice}")


def preset_with_set(name: str) -> str | None:
    """The preset that brings a set of this name; the one that is called like it comes first."""
    line = re.compile(rf"^  {re.escape(name)}:", re.MULTILINE)
    presets = sorted(PRESETS.glob("*.yaml"))
    found = [path.stem for path in presets if line.search(path.read_text(encoding="utf-8"))]
    return max(found, key=name.startswith) if found else None


def _shown(names: Iterable[str]) -> str:
    return f"[{', '.join(names)}]"


def _refuse(what: str) -> None:
    raise UserError(f"{PARAMS_PATH}: {what}.")


def check_whitened(wanted: Mapping[str, int], lengths: Mapping[str, int]) -> None:
    """No code whitens to more dimensions than a descriptor of any variant has."""
    for name, dimensions in wanted.items():
        for variant, length in lengths.items():
            if dimensions > length:
                _refuse(
                    f"code_defs.{name}.keep.whiten is {dimensions}, but a descriptor of {variant}"
                    f" has only {length} dimensions: lower it, or use another code"
                )


def check_photos(photos: Iterable[str], places: Mapping[str, tuple[str, str]]) -> None:
    """Every entry of `photos` is a set, with the folder and the list that list_photos writes."""
    for name in photos:
        if places.get(name) != (name, LISTED):
            _refuse(
                f"photos has '{name}', so `datasets` needs a set of that name with folder {name}"
                f" and list {LISTED}"
            )


def check_files(
    places: Mapping[str, tuple[str, str]],
    weights: Iterable[str],
    raw: Path,
    weights_dir: Path,
    made: Collection[str] = (),
) -> None:
    """Checks that every set has its list of images, and every network its file.

    `places` holds folder and list by set. Lists in the folders of `made` are written by stages.
    """
    for name, (folder, listing) in places.items():
        for key, value in (("folder", folder), ("list", listing)):
            relative = PurePosixPath(value)
            if relative.is_absolute() or ".." in relative.parts:
                _refuse(f"datasets.{name}.{key} is '{value}', but should be a path below {raw}")
        path = raw / folder / listing
        if folder not in {CITY, *made} and not path.exists():
            if (raw / folder).is_dir():
                raise UserError(
                    f"{path} is missing, though {raw / folder} is there: put it there, or correct"
                    f" datasets.{name}.list in {PARAMS_PATH}."
                )
            raise UserError(
                f"{path} is missing: link the folder that holds the images of {name} as"
                f" {raw / folder}, or take {name} out of `datasets` in {PARAMS_PATH}."
            )
    for file in weights:
        if not (weights_dir / file).exists():
            raise UserError(
                f"{weights_dir / file} is missing: put or link the network's file there, or take it"
                f" out of `networks` in {PARAMS_PATH}."
            )
