"""Writes the presets in presets/ into params.yaml: the command `vpr use`."""

import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer
import yaml

from vprlib.cli import photos
from vprlib.cli.parts import Recipe, part, parts_of, recipe_of, source_of, split, with_recipe
from vprlib.pipeline import paths
from vprlib.pipeline.artifacts import write_text
from vprlib.pipeline.params import PARAMS_PATH, At, JsonObject, UserError, nearest, read_params_file
from vprlib.pipeline.switches import FULL, OWN, PRESETS, Switches, check_files, preset_with_set

BASE = "city"  # the preset that holds all sections which presets may change
# of these a preset holds only what differs
Kind = Literal["set", "variant", "code"]
SWITCHES: dict[Kind, str] = {"set": "eval_on", "variant": "variants", "code": "codes"}
MERGED = ("model", "sample", "kmeans", "train", "extraction")
Tree = JsonObject


class Parts(Switches):
    """What the codes and variants in use consist of."""

    variant_defs: Annotated[Tree, At("variant_defs")]
    code_defs: Annotated[Tree, At("code_defs")]


def compose(
    text: str, name: str | None, lists: Mapping[str, list[str]], recipe: Recipe | None = None
) -> str:
    """The text of params.yaml with a preset over it, and lists of codes or variants over that.

    A recipe then replaces how the network learns.

    What describes the experiment starts from the base preset, so that the order in which presets
    are used does not matter. How it is evaluated and run stays as it is, except for `extraction`
    and `search`, which presets may change.
    """
    changes: Tree = {}
    if name is not None:
        base = _base_blocks()
        own = _blocks(text)
        text = "".join(
            split(own[key], key)[0] + "".join(split(base[key], key)[1:]) if key in base else block
            for key, block in own.items()
        )
        changes = read_params_file(PRESETS / f"{name}.yaml") if name != BASE else {}
    changes = {**changes, **lists}
    teachers = [recipe.teacher] if recipe and recipe.teacher else []
    changes |= _completed(Parts.of(yaml.safe_load(text) | changes), teachers)
    blocks = _blocks(text)
    for key, value in changes.items():
        if key not in blocks:
            raise UserError(
                f"{PARAMS_PATH}: there is no section '{key}'{nearest(str(key), [*blocks])}."
            )
        blocks[key] = _changed(blocks[key], key, value)
    if recipe is not None:
        blocks["train"] = with_recipe(blocks["train"], recipe)
    return "".join(blocks.values())


def _base_blocks() -> dict[str, str]:
    return _blocks((PRESETS / f"{BASE}.yaml").read_text(encoding="utf-8"))


def _blocks(text: str) -> dict[str, str]:
    """Top-level key → its lines, and the comments above it."""
    blocks: dict[str, str] = {}
    waiting, key = "", ""
    for line in (f"{line}\n" for line in text.removesuffix("\n").split("\n")):
        found = re.match(r"(\w+):", line)
        if found:
            key = found[1]
            blocks[key], waiting = waiting + line, ""
        elif key and line.startswith((" ", "-")):
            blocks[key], waiting = blocks[key] + waiting + line, ""
        else:
            waiting += line
    return blocks


def _changed(block: str, key: str, value: object) -> str:
    """A block with another value; comments stay, but for those inside what is replaced."""
    above, line, body = split(block, key)
    if key in MERGED and isinstance(value, dict) and body:
        for name, inner in value.items():
            old = re.search(rf"^  {name}: .*\n", body, re.MULTILINE)
            if old is None:
                raise UserError(f"{PARAMS_PATH}: {key} has no '{name}' to change.")
            new = _commented(f"  {name}: {_flow(inner)}", old[0])
            body = body.replace(old[0], new, 1)
        return above + line + body
    written = f"{key}: {_flow(value)}\n"
    if isinstance(value, dict):  # lists and short mappings in it on one line
        form = {"default_flow_style": None, "sort_keys": False, "width": 10_000}
        written = yaml.safe_dump({key: value}, **form)
    first, _, rest = written.partition("\n")
    return above + _commented(first, line) + rest


def _commented(text: str, old: str) -> str:
    """A line with the comment of the old one, in the same column if there is room."""
    comment = re.search(r"  #.*", old)
    if comment is None:
        return f"{text}\n"
    return f"{text.ljust(comment.start())}{comment[0]}\n"


def _flow(value: object) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10_000)
    return text.removesuffix("...\n").strip()  # PyYAML ends a bare word so


def _completed(p: Parts, teachers: Sequence[str]) -> Tree:
    """What follows from the names in use; definitions come from presets/parts."""
    fitted = [code for code in p.codes if code != FULL]
    fit_on = p.fit_on or p.train_on or p.init_on
    if fitted and not fit_on:
        raise UserError(
            f"{', '.join(fitted)} are fitted on training images, but params.yaml names no training"
            " set: set fit_on to a set of `datasets`."
        )
    published = parts_of("networks")
    networks = {
        name: published[name]
        for name in (*p.variants, *teachers)
        if name in published and name not in {*p.networks, *p.derived}
    }
    given = {*OWN, *p.networks, *networks}
    derived: dict[str, str] = {}
    variant_defs: Tree = {}
    for name in p.variants:
        while name not in given and name not in derived:
            known = p.variant_defs.get(name) if name in p.derived else None
            made = (
                part("variants", name) if known is None else {"of": p.derived[name], "steps": known}
            )
            derived[name], variant_defs[name] = made["of"], made["steps"]
            name = made["of"]
    code_defs = dict(p.code_defs)
    code_defs |= {name: part("codes", name) for name in p.codes if name not in code_defs}
    found = {
        "networks": {**p.networks, **networks},
        "derived": derived,
        "variant_defs": variant_defs,
        "fitted": fitted,
        "fit_on": fit_on if fitted else [],
        "code_defs": code_defs,
    }
    return {key: value for key, value in found.items() if value != getattr(p, key)}


def preset_with(kind: Kind, name: str, in_use: Sequence[str]) -> str | None:
    """The command that brings a set, variant or code into params.yaml; None if none does."""
    if kind == "set":
        preset = preset_with_set(name)
        return preset and f"vpr use {preset}"
    path = PRESETS / f"parts/{SWITCHES[kind]}.yaml"
    is_there = path.exists() and name in read_params_file(path)
    return f"vpr use --{SWITCHES[kind]} {','.join([*in_use, name])}" if is_there else None


def differences(before: Tree, after: Tree, place: str = "") -> Iterator[str]:
    """A line for each changed value; an added or removed data set is one line."""
    for key in [*before, *(key for key in after if key not in before)]:
        where, old, new = f"{place}{key}", before.get(key), after.get(key)
        if isinstance(old, dict) and isinstance(new, dict) and where != "city":
            yield from differences(old, new, f"{where}.")
        elif old != new:
            yield f"{where}: {_shown(old)} → {_shown(new)}"


def _shown(value: object) -> str:
    if isinstance(value, dict) and value:
        return f"{{{', '.join(map(str, value))}}}"
    return "nothing" if value is None else _flow(value)


def preset_names() -> list[str]:
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def _check_committed(text: str) -> None:
    """Refuses to overwrite edits that git does not have; what a preset wrote is none."""
    shown = subprocess.run(
        ["git", "show", f"HEAD:./{PARAMS_PATH}"], capture_output=True, text=True, encoding="utf-8"
    )
    if shown.returncode:
        raise UserError(
            f"git has no committed {PARAMS_PATH} to compare with, so edits could be lost: commit"
            " it, or add --force."
        )
    committed = shown.stdout
    recipe = recipe_of(_blocks(text)["train"])
    known = [committed, *(compose(committed, name, {}) for name in preset_names())]
    known += [compose(other, None, {}, recipe) for other in known if recipe]
    if _overwritten(text) not in map(_overwritten, known):
        raise UserError(
            f"{PARAMS_PATH} has edits that are not committed, and they would be overwritten:"
            " commit them, or add --force."
        )


def _overwritten(text: str) -> list[str | None]:
    """The sections that a preset replaces."""
    blocks = _blocks(text)
    return [blocks.get(key) for key in _base_blocks()]


def main(
    name: Annotated[
        str | None,
        typer.Argument(help="a preset, such as pitts30k, or a published network; --list shows all"),
    ] = None,
    folders: Annotated[
        list[Path] | None, typer.Argument(help="folders of photographs, for the preset photos")
    ] = None,
    queries: Annotated[
        Path | None, typer.Option(help="a folder of photographs to ask, for the preset photos")
    ] = None,
    codes: Annotated[
        str | None, typer.Option(help="evaluate these codes, such as full,w512_int8")
    ] = None,
    variants: Annotated[
        str | None, typer.Option(help="evaluate these networks, such as trained,int8")
    ] = None,
    train: Annotated[
        str | None, typer.Option(help="how the network learns: places, mixvpr, distil …")
    ] = None,
    teacher: Annotated[
        str | None, typer.Option(help="the network that --train distil learns from")
    ] = None,
    is_list: Annotated[bool, typer.Option("--list", help="list all presets")] = False,
    force: Annotated[bool, typer.Option("--force", help="overwrite uncommitted edits")] = False,
) -> None:
    """Write a preset into params.yaml; print what changed and which files are missing."""
    before, text = read_params_file(PARAMS_PATH), PARAMS_PATH.read_text(encoding="utf-8")
    published = [*parts_of("networks")]
    if is_list:
        width = max(map(len, preset_names()), default=0)
        for preset in preset_names():
            title, _, _ = (PRESETS / f"{preset}.yaml").read_text(encoding="utf-8").partition("\n")
            typer.echo(f"{preset:{width}}  {title.lstrip('# ')}")
        networks = ", ".join(published)
        typer.echo(f"Published networks, each evaluated on the sets in use: {networks}")
        return
    asked = {"codes": codes, "variants": variants}
    lists = {key: text.split(",") for key, text in asked.items() if text is not None}
    network = name if name in published else None
    if network is not None:  # it joins the variants and changes nothing else
        others = lists.get("variants", Parts.of(before).variants)
        lists["variants"] = [*(other for other in others if other != network), network]
        name = None
    if teacher is not None and train is None:
        raise UserError("--teacher belongs to a recipe: add --train distil.")
    if name is None and not lists and train is None:
        raise UserError(
            "name a preset, or --codes, --variants or --train; `vpr use --list` shows presets."
        )
    if name is not None and name not in preset_names():
        known = [*preset_names(), *published]
        raise UserError(f"there is no preset '{name}'{nearest(name, known)}.")
    photos.check(name, folders or [], queries, paths.RAW / photos.PRESET)
    # loads PyTorch, which takes seconds
    from vprlib.cli.whole import check_whole

    if (name is not None or train is not None) and not force:
        _check_committed(text)
    new = compose(text, name, lists, Recipe(train, teacher) if train is not None else None)
    after = yaml.safe_load(new)
    check_whole(after)
    changed = photos.link(folders or [], queries, paths.RAW / photos.PRESET)
    write_text(PARAMS_PATH, new)
    changed += differences(before, after)
    typer.echo("\n".join(changed) or f"{PARAMS_PATH} stays as it is.")
    if network is not None:
        file = paths.WEIGHTS / after["networks"][network]["file"]
        typer.echo(f"The file of {network}, {file}, comes from {source_of(network)}")
    places = {key: (d["folder"], d["list"]) for key, d in after["datasets"].items()}
    files = [network["file"] for network in after["networks"].values()]
    check_files(places, files, paths.RAW, paths.WEIGHTS, after["photos"])
    typer.echo("All files are there: type `dvc repro`.")
