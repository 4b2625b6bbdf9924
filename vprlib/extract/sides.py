"""Describes one side of a set: what extract_db and extract_queries share."""

from typing import Annotated

import numpy as np
import typer

from vprlib.extract.extraction import ExtractionSettings, Work, run
from vprlib.images.batches import open_source
from vprlib.images.decode import ImageSettings
from vprlib.model.model import read_model
from vprlib.pipeline import paths
from vprlib.pipeline.params import At
from vprlib.pipeline.paths import Side
from vprlib.pipeline.runtime import RuntimeSettings

CALLED = {"db": "database", "queries": "queries"}


class SideParams(ExtractionSettings):
    images: Annotated[ImageSettings, At("datasets.{dataset}.images")]
    folder: Annotated[str, At("datasets.{dataset}.folder")]
    runtime: Annotated[RuntimeSettings, At("runtime")]


def describe_side(side: Side, dataset: str, variant: str, p: SideParams) -> None:
    """Writes the descriptors of all images of one side; goes on where it was interrupted."""
    inputs = (paths.index(dataset, side), paths.model(variant))
    source = open_source(inputs[0], paths.RAW / p.folder, p.images)
    report = paths.REPORTS / f"{dataset}_{CALLED[side]}_unreadable.txt"
    work = Work(read_model(inputs[1]), source, np.arange(len(source.index)), p, report)
    values = p.model_dump(include={"images", "precision", "stored"})
    out = paths.descriptors(dataset, variant, "full", side)
    stage = f"extract_{side}"
    outcome = run(out, work, paths.SCRATCH, stage, values, inputs, p.runtime, typer.echo)
    typer.echo(f"{dataset} {CALLED[side]}: {outcome.sentence()}")
