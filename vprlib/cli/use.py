"""Sets the switches of params.yaml for a ready data set: `python -m vprlib.cli.use pitts30k`."""

from collections.abc import Mapping
from pathlib import Path

import typer
import yaml

from vprlib.pipeline import command
from vprlib.pipeline.artifacts import write_text
from vprlib.pipeline.params import PARAMS_PATH, UserError, look_up, read_params_file
from vprlib.pipeline.switches import SetPlace, check_specifications

RAW = Path("data/raw")
_ONE_LINE = {"default_flow_style": True, "sort_keys": False, "width": 10**6}


def ready_switches(params: Mapping[str, object], name: str) -> dict[str, object]:
    """The switches that `ready.<name>` sets."""
    found = look_up(dict(params), f"ready.{name}")
    if not isinstance(found, dict) or not isinstance(found.get("sets"), dict):
        raise UserError(f"{PARAMS_PATH}: ready.{name} should be a mapping of switches with `sets`.")
    return {"derived": {}, **found}


def with_switches(text: str, switches: Mapping[str, object]) -> str:
    """The file's text with these top-level entries replaced, all else and its comments kept."""
    for name, value in switches.items():
        lines = text.splitlines(keepends=True)
        starts = [i for i, line in enumerate(lines) if line.startswith(f"{name}:")]
        if len(starts) != 1:
            raise UserError(f"{PARAMS_PATH}: the switch '{name}' should stand there once.")
        end = starts[0] + 1
        while end < len(lines) and lines[end].startswith((" ", "- ")):
            end += 1
        text = "".join([*lines[: starts[0]], _written(name, value), *lines[end:]])
    return text


def _written(name: str, value: object) -> str:
    """One switch a block; a mapping inside a mapping on one line."""
    if not isinstance(value, dict) or not value:
        return yaml.safe_dump({name: value}, default_flow_style=False, sort_keys=False)
    inner = (f"  {key}: {_on_one_line(entry)}\n" for key, entry in value.items())
    return f"{name}:\n{''.join(inner)}"


def _on_one_line(entry: object) -> str:
    return yaml.safe_dump(entry, **_ONE_LINE).removesuffix("...\n").strip()  # after a bare word


def main(
    name: str = typer.Argument(help="one of the entries below `ready` in params.yaml"),
) -> None:
    """Sets the switches on top, and says which link is still to be made."""
    params = read_params_file(PARAMS_PATH)
    switches = ready_switches(params, name)
    text = with_switches(PARAMS_PATH.read_text(encoding="utf-8"), switches)
    if yaml.safe_load(text) != params | switches:
        raise UserError(f"{PARAMS_PATH} is laid out in a way that cannot be edited: do it by hand.")
    write_text(PARAMS_PATH, text)
    for switch, value in switches.items():
        shown = ", ".join(value) if isinstance(value, list | dict) else value
        typer.echo(f"{switch}: {shown}")
    check_specifications({n: SetPlace(**place) for n, place in switches["sets"].items()}, RAW)
    typer.echo("Everything is in place: type `dvc repro`.")


if __name__ == "__main__":
    command.run(main)
