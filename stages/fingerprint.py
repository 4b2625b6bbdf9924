"""Takes a fingerprint of every image of a set, so that copies in other sets are recognised."""

from pathlib import Path
from typing import Annotated

import typer

from vprlib.images.fingerprints import take_fingerprints, write_fingerprints
from vprlib.images.index import Unreadable, read_index
from vprlib.pipeline import command
from vprlib.pipeline.params import At, StageParams
from vprlib.pipeline.runtime import RuntimeSettings


class Params(StageParams):
    unreadable: Annotated[Unreadable, At("extraction.unreadable")]
    runtime: Annotated[RuntimeSettings, At("runtime")]


def main(
    dataset: str = typer.Option(),
    db: Path = typer.Option(),
    queries: Path = typer.Option(),
    images: Path = typer.Option(),
    out: Path = typer.Option(),
) -> None:
    p = Params.load()
    given = (images, p.runtime, p.unreadable)
    sides = [take_fingerprints(read_index(side), *given) for side in (db, queries)]
    write_fingerprints(out, *sides)
    plain = sum(int(side.hashes.is_plain.sum()) for side in sides)
    count = sum(len(side) for side in sides)
    typer.echo(f"{dataset}: looked at {count} images, {plain} of one colour all over or left out")


if __name__ == "__main__":
    command.run(main)
