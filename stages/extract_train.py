"""Describes random images of a training database, which codes are fitted on."""

from typing import Annotated

import typer

from vprlib.extract.extraction import ExtractionSettings, Work, run
from vprlib.images.batches import open_source
from vprlib.images.decode import ImageSettings
from vprlib.model.model import read_variant
from vprlib.pipeline import launch, paths
from vprlib.pipeline.artifacts import Attribute
from vprlib.pipeline.draws import choose_rows
from vprlib.pipeline.inside import Name
from vprlib.pipeline.params import At, Count, SampleSeed
from vprlib.pipeline.runtime import RuntimeSettings


class Params(ExtractionSettings):
    images: Annotated[ImageSettings, At("datasets.{training}.images")]
    folder: Annotated[Name, At("datasets.{training}.folder")]
    descriptors: Annotated[Count, At("whitening.descriptors")]
    seed: Annotated[SampleSeed, At("whitening.seed")]
    runtime: Annotated[RuntimeSettings, At("runtime")]


def main(training: str, variant: str) -> None:
    p = Params.load(training=training)
    inputs = (paths.index(training, "db"), paths.model(variant))
    source = open_source(inputs[0], paths.RAW / p.folder, p.images)
    rows = choose_rows(len(source.index), p.descriptors, p.seed)
    report = paths.REPORTS / f"{training}_sample_unreadable.txt"
    origin: dict[str, Attribute] = {"variant": variant, "seed": p.seed}
    work = Work(read_variant(inputs[1]), source, rows, p, report, {"image_rows": rows}, origin)
    values = p.model_dump(exclude={"runtime", "folder", "unreadable"}) | origin
    out = paths.fit_sample(variant)
    scratch = (paths.SCRATCH, "extract_train", values)
    outcome = run(out, work, *scratch, *inputs, p.runtime, typer.echo)
    typer.echo(
        f"{training}, {variant}: {len(rows)} of {len(source.index)} database images:"
        f" {outcome.sentence()}"
    )


if __name__ == "__main__":
    launch.run(main)
