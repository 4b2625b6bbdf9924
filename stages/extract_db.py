"""Describes the database images of a set with one variant of the network."""

from pathlib import Path
from typing import Annotated

import typer

from vprlib import command
from vprlib.batches import open_source
from vprlib.device import prepare
from vprlib.extraction import extract
from vprlib.images import ImageSettings
from vprlib.model import read_model
from vprlib.params import At, StageParams
from vprlib.runtime import RuntimeSettings


class Params(StageParams):
    images: Annotated[ImageSettings, At("datasets.{dataset}.images")]
    folder: Annotated[str, At("sets.{dataset}.folder")]
    runtime: Annotated[RuntimeSettings, At("runtime")]


def main(
    dataset: str = typer.Option(),
    index: Path = typer.Option(),
    model: Path = typer.Option(),
    raw: Path = typer.Option(),
    out: Path = typer.Option(),
) -> None:
    p = Params.load(dataset=dataset)
    source = open_source(index, raw / p.folder, p.images)
    shape = extract(out, read_model(model), source, prepare(p.runtime), p.runtime)
    typer.echo(f"{dataset} database: {shape[0]} descriptors of {shape[1]} dimensions")


if __name__ == "__main__":
    command.run(main)
