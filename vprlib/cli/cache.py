"""Lists and clears what is cached on disk: the commands `vpr cache list` and `clear`."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from vprlib.cli import options
from vprlib.cli.output import echo_json
from vprlib.pipeline.cache import cache_at, entries, gib, removed, told_of
from vprlib.pipeline.params import At, StageParams
from vprlib.pipeline.paths import CACHE
from vprlib.pipeline.runtime import RuntimeSettings


class Params(StageParams):
    runtime: Annotated[RuntimeSettings, At("runtime")]


@dataclass(frozen=True)
class Entry:
    what: str
    bytes: int
    folder: str

    def __str__(self) -> str:
        return f"{gib(self.bytes):>10}  {self.what}  ({self.folder})"


def read_entries() -> list[Entry]:
    folder = cache_at(CACHE, Params.load().runtime, typer.echo).folder
    found = entries(folder)
    if not found:
        typer.echo(f"{folder} holds nothing", err=True)
    told = [told_of(entry) for entry in found]
    return [Entry(t.what, t.bytes, str(entry)) for t, entry in zip(told, found, strict=True)]


def list_entries(as_json: options.AsJson = False) -> None:
    """List what is kept for later runs, with sizes: maps, descriptors, facts of images."""
    found = read_entries()
    if as_json:
        echo_json([asdict(entry) for entry in found])
    else:
        typer.echo("".join(f"{entry}\n" for entry in found), nl=False)


def clear() -> None:
    """Remove what is kept for later runs, except entries in use, and list it."""
    for entry in read_entries():
        state = "removed" if removed(Path(entry.folder)) else "in use, kept"
        typer.echo(f"{state}: {entry}")
