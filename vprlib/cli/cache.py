"""Lists and clears what training keeps of images."""

import json
from typing import Annotated

import typer

from vprlib.pipeline import command
from vprlib.pipeline.params import At, StageParams
from vprlib.pipeline.paths import CACHE
from vprlib.pipeline.runtime import RuntimeSettings
from vprlib.train.cache import cache_at, entries, gib, removed, size_of


class Params(StageParams):
    runtime: Annotated[RuntimeSettings, At("runtime")]


def main(
    clear: bool = typer.Option(False, help="remove all that is not in use"),
) -> None:
    """Lists what training keeps of images, and removes it."""
    folder = cache_at(CACHE, Params.load().runtime, typer.echo).folder
    found = entries(folder)
    for entry in found:
        what = json.loads((entry / "about.json").read_text())["what"]
        size = gib(size_of(entry))
        state = "" if not clear else "removed: " if removed(entry) else "in use, kept: "
        typer.echo(f"{state}{size:>10}  {what}  ({entry})")
    if not found:
        typer.echo(f"{folder} holds nothing")


if __name__ == "__main__":
    command.run(main)
