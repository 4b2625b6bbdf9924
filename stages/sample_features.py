"""Samples local descriptors of random training images, for the visual words."""

from typing import Annotated

import typer

from vprlib.images.batches import open_source
from vprlib.images.decode import ImageSettings
from vprlib.model.device import prepare
from vprlib.model.settings import AnyPool, PoolSettings, has_words
from vprlib.model.weights import BackboneSettings, starting_backbone
from vprlib.pipeline import command, paths
from vprlib.pipeline.inside import Name
from vprlib.pipeline.params import At, StageParams
from vprlib.pipeline.runtime import RuntimeSettings
from vprlib.train.sample import SampleSettings, Wanted, take_sample, write_sample


class Params(StageParams):
    backbone: Annotated[BackboneSettings, At("model.backbone")]
    pool: Annotated[AnyPool, At("model.pool")]  # only some have words
    sample: Annotated[SampleSettings, At("sample")]
    images: Annotated[ImageSettings, At("datasets.{training}.images")]
    folder: Annotated[Name, At("datasets.{training}.folder")]
    runtime: Annotated[RuntimeSettings, At("runtime")]


def main(training: str) -> None:
    p = Params.load(training=training)
    source = open_source(paths.index(training, "db"), paths.RAW / p.folder, p.images)
    backbone = starting_backbone(p.backbone, paths.WEIGHTS)
    is_normalised = not isinstance(p.pool, PoolSettings) or p.pool.normalise_input
    wanted = Wanted(has_words(p.pool.kind), is_normalised)
    device = prepare(p.runtime)
    sample = take_sample(backbone, p.backbone, source, p.sample, device, p.runtime, wanted)
    write_sample(paths.SAMPLE, sample)
    typer.echo(
        f"sample: {len(sample.descriptors)} descriptors of {sample.descriptors.shape[1]} dimensions"
        f" from {len(sample.image_names)} images of {sample.set_name}"
    )


if __name__ == "__main__":
    command.run(main)
