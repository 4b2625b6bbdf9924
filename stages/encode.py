"""Computes what a code keeps of a set's descriptors; no image is read."""

from pathlib import Path
from typing import Annotated

import typer

from vprlib.descriptors.codes import encode, read_code
from vprlib.pipeline import command
from vprlib.pipeline.params import At, StageParams
from vprlib.pipeline.runtime import RuntimeSettings


class Params(StageParams):
    runtime: Annotated[RuntimeSettings, At("runtime")]


def main(
    code: str = typer.Option(),
    db: Path = typer.Option(),
    queries: Path = typer.Option(),
    coder: Path = typer.Option(),
    out: Path = typer.Option(),
) -> None:
    p = Params.load()
    written = encode(out, read_code(coder), {"database": db, "queries": queries}, p.runtime)
    said = [f"{side} {count} × {size} bytes" for side, (count, size) in written.items()]
    typer.echo(f"{code}: {', '.join(said) or 'keeps the descriptors as they are, without a copy'}")


if __name__ == "__main__":
    command.run(main)
