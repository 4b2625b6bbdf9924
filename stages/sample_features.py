"""Samples local descriptors of random training database images, for the visual words."""

from pathlib import Path
from typing import Annotated

import typer
from pydantic import StrictBool

from vprlib.images.batches import open_source
from vprlib.images.decode import ImageSettings
from vprlib.model.device import prepare
from vprlib.model.settings import PoolKind, has_words
from vprlib.model.weights import BackboneSettings, starting_backbone
from vprlib.pipeline import command
from vprlib.pipeline.params import At, StageParams
from vprlib.pipeline.runtime import RuntimeSettings
from vprlib.train.sample import SampleSettings, Wanted, empty_sample, take_sample, write_sample


class Params(StageParams):
    backbone: Annotated[BackboneSettings, At("recipes.{recipe}.model.backbone")]
    start: Annotated[str | None, At("recipes.{recipe}.model.start")]
    pool: Annotated[PoolKind, At("recipes.{recipe}.model.pool.kind")]  # not all have words
    is_normalised: Annotated[StrictBool, At("recipes.{recipe}.model.pool.normalise_input")]
    sample: Annotated[SampleSettings, At("recipes.{recipe}.sample")]
    images: Annotated[ImageSettings, At("datasets.{recipe}_train.images")]
    folder: Annotated[str, At("sets.{recipe}_train.folder")]
    runtime: Annotated[RuntimeSettings, At("runtime")]


def main(
    recipe: str = typer.Option(),
    db: Path = typer.Option(),
    raw: Path = typer.Option(),
    weights: Path = typer.Option(),
    out: Path = typer.Option(),
) -> None:
    p = Params.load(recipe=recipe)
    if p.start is not None:
        write_sample(out, empty_sample(p.sample))
        typer.echo(f"sample: none needed, since the model starts from {p.start}")
        return
    source = open_source(db, raw / p.folder, p.images)
    backbone = starting_backbone(p.backbone, weights)
    wanted = Wanted(has_words(p.pool), p.is_normalised)
    device = prepare(p.runtime)
    sample = take_sample(backbone, p.backbone, source, p.sample, device, p.runtime, wanted)
    write_sample(out, sample)
    typer.echo(
        f"sample: {len(sample.descriptors)} descriptors of {sample.descriptors.shape[1]} dimensions"
        f" from {len(sample.image_names)} images of {sample.set_name}"
    )


if __name__ == "__main__":
    command.run(main)
