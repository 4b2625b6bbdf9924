"""Puts the parts of an index together: `python -m vprlib.cli.merge_index PART… --out FOLDER`."""

from pathlib import Path

import typer

from vprlib.pipeline import command
from vprlib.search.approximate import merge


def main(
    parts: list[Path] = typer.Argument(help="the folders that index_part wrote, in order"),
    out: Path = typer.Option(..., help="the folder to write"),
) -> None:
    """Copies lists from file to file: memory does not grow with them."""
    facts = merge(out, parts)
    typer.echo(f"{out}: {facts['descriptors']} descriptors, {facts['bytes']} bytes")


if __name__ == "__main__":
    command.run(main)
