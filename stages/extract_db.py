"""Describes the database images of a set with one variant of the network."""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from vprlib.extract.extraction import Work, run
from vprlib.extract.settings import ExtractionSettings, Stored
from vprlib.images.batches import open_source
from vprlib.images.decode import ImageSettings
from vprlib.images.index import Unreadable
from vprlib.model.model import read_model
from vprlib.model.settings import Precision
from vprlib.pipeline import launch
from vprlib.pipeline.params import At, StageParams
from vprlib.pipeline.runtime import RuntimeSettings


class Params(StageParams):
    images: Annotated[ImageSettings, At("datasets.{dataset}.images")]
    folder: Annotated[str, At("sets.{dataset}.folder")]
    precision: Annotated[Precision, At("extraction.precision")]
    stored: Annotated[Stored, At("extraction.stored")]
    unreadable: Annotated[Unreadable, At("extraction.unreadable")]
    runtime: Annotated[RuntimeSettings, At("runtime")]


def main(
    dataset: str = typer.Option(),
    index: Path = typer.Option(),
    model: Path = typer.Option(),
    raw: Path = typer.Option(),
    scratch: Path = typer.Option(),
    reports: Path = typer.Option(),
    out: Path = typer.Option(),
) -> None:
    p = Params.load(dataset=dataset)
    source = open_source(index, raw / p.folder, p.images)
    settings = ExtractionSettings(p.precision, p.stored, p.unreadable)
    report = reports / f"{dataset}_database_unreadable.txt"
    work = Work(read_model(model), source, np.arange(len(source.index)), settings, report)
    values = p.model_dump(include={"images", "precision", "stored"})
    inputs = (index, model)
    outcome = run(out, work, scratch, "extract_db", values, inputs, p.runtime, typer.echo)
    typer.echo(f"{dataset} database: {outcome.sentence()}")


if __name__ == "__main__":
    launch.run(main)
