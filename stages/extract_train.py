"""Describes random images of the training database, where a code in use is fitted on them."""

from pathlib import Path
from typing import Annotated

import typer

from vprlib.descriptors.files import Count, SampleSeed, is_needed
from vprlib.extract.settings import ExtractionSettings, Stored
from vprlib.images.batches import open_source
from vprlib.images.decode import ImageSettings
from vprlib.images.index import Unreadable
from vprlib.model.settings import Precision
from vprlib.pipeline import launch
from vprlib.pipeline.artifacts import write_bytes
from vprlib.pipeline.draws import choose_rows
from vprlib.pipeline.params import At, StageParams
from vprlib.pipeline.runtime import RuntimeSettings, member


class Params(StageParams):
    images: Annotated[ImageSettings, At("datasets.{recipe}_train.images")]
    folder: Annotated[str, At("sets.{recipe}_train.folder")]
    descriptors: Annotated[Count, At("whitening.descriptors")]
    seed: Annotated[SampleSeed, At("whitening.seed")]
    precision: Annotated[Precision, At("extraction.precision")]
    stored: Annotated[Stored, At("extraction.stored")]
    unreadable: Annotated[Unreadable, At("extraction.unreadable")]
    runtime: Annotated[RuntimeSettings, At("runtime")]


def main(
    recipe: str = typer.Option(),
    variant: str = typer.Option(),
    codes: Path = typer.Option(),
    index: Path = typer.Option(),
    model: Path = typer.Option(),
    raw: Path = typer.Option(),
    scratch: Path = typer.Option(),
    reports: Path = typer.Option(),
    out: Path = typer.Option(),
) -> None:
    p = Params.load(recipe=recipe)
    if not is_needed(codes):
        if member().rank == 0:
            write_bytes(out, b"")
        typer.echo(f"{recipe}_train: no code in use is fitted, so no image is described")
        return
    from vprlib.extract.extraction import Work, run  # these load torch
    from vprlib.model.model import read_model

    source = open_source(index, raw / p.folder, p.images)
    rows = choose_rows(len(source.index), p.descriptors, p.seed)
    settings = ExtractionSettings(p.precision, p.stored, p.unreadable)
    report = reports / f"{recipe}_train_sample_unreadable.txt"
    origin = {"variant": variant, "seed": p.seed}
    work = Work(read_model(model), source, rows, settings, report, {"image_rows": rows}, origin)
    values = p.model_dump(exclude={"runtime", "folder", "unreadable"}) | origin
    inputs = (index, model)
    outcome = run(out, work, scratch, "extract_train", values, inputs, p.runtime, typer.echo)
    typer.echo(
        f"{recipe}_train, {variant}: {len(rows)} of {len(source.index)} database images:"
        f" {outcome.sentence()}"
    )


if __name__ == "__main__":
    launch.run(main)
