"""Computes what a code keeps of a set's descriptors; no image is read."""

from pathlib import Path
from typing import Annotated

import typer

from vprlib import command
from vprlib.codes import CodeSettings, WhitenedOrAll, encode, read_code
from vprlib.params import At, StageParams
from vprlib.runtime import RuntimeSettings


class Params(StageParams):
    whiten: Annotated[WhitenedOrAll, At("code_defs.{code}.whiten")]
    runtime: Annotated[RuntimeSettings, At("runtime")]


def main(
    code: str = typer.Option(),
    db: Path = typer.Option(),
    queries: Path = typer.Option(),
    whitening: Path = typer.Option(),
    out: Path = typer.Option(),
) -> None:
    p = Params.load(code=code)
    kept = read_code(code, CodeSettings(whiten=p.whiten), whitening)
    shapes = encode(out, kept, {"database": db, "queries": queries}, p.runtime)
    said = [f"{side} {count} × {dim}" for side, (count, dim) in shapes.items()]
    typer.echo(f"{code}: {', '.join(said) or 'keeps the descriptors as they are, without a copy'}")


if __name__ == "__main__":
    command.run(main)
