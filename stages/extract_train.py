"""Describes random images of a training database, which codes are fitted on."""

from typing import Annotated

import typer

from vprlib.extract.extraction import Work, run
from vprlib.extract.settings import ExtractionSettings, Stored
from vprlib.images.batches import open_source
from vprlib.images.decode import ImageSettings
from vprlib.images.index import Unreadable
from vprlib.model.model import read_model
from vprlib.model.settings import Precision
from vprlib.pipeline import launch, paths
from vprlib.pipeline.artifacts import Attribute
from vprlib.pipeline.draws import choose_rows
from vprlib.pipeline.params import At, Count, SampleSeed, StageParams
from vprlib.pipeline.runtime import RuntimeSettings


class Params(StageParams):
    images: Annotated[ImageSettings, At("datasets.{training}.images")]
    folder: Annotated[str, At("datasets.{training}.folder")]
    descriptors: Annotated[Count, At("whitening.descriptors")]
    seed: Annotated[SampleSeed, At("whitening.seed")]
    precision: Annotated[Precision, At("extraction.precision")]
    stored: Annotated[Stored, At("extraction.stored")]
    unreadable: Annotated[Unreadable, At("extraction.unreadable")]
    runtime: Annotated[RuntimeSettings, At("runtime")]


def main(training: str, variant: str) -> None:
    p = Params.load(training=training)
    inputs = (paths.index(training, "db"), paths.model(variant))
    source = open_source(inputs[0], paths.RAW / p.folder, p.images)
    rows = choose_rows(len(source.index), p.descriptors, p.seed)
    settings = ExtractionSettings(p.precision, p.stored, p.unreadable)
    report = paths.REPORTS / f"{training}_sample_unreadable.txt"
    origin: dict[str, Attribute] = {"variant": variant, "seed": p.seed}
    work = Work(read_model(inputs[1]), source, rows, settings, report, {"image_rows": rows}, origin)
    values = p.model_dump(exclude={"runtime", "folder", "unreadable"}) | origin
    out = paths.fit_sample(variant)
    outcome = run(out, work, paths.SCRATCH, "extract_train", values, inputs, p.runtime, typer.echo)
    typer.echo(
        f"{training}, {variant}: {len(rows)} of {len(source.index)} database images:"
        f" {outcome.sentence()}"
    )


if __name__ == "__main__":
    launch.run(main)
