"""Trains the network with triplets on one set, and keeps the epoch that does best on another."""

from typing import Annotated

import typer

from vprlib.images.decode import ImageSettings
from vprlib.model.device import prepare
from vprlib.model.model import write_model
from vprlib.pipeline import launch, paths
from vprlib.pipeline.artifacts import write_bytes, write_csv, write_json
from vprlib.pipeline.group import joined
from vprlib.pipeline.params import At, StageParams
from vprlib.pipeline.resume import scratch_for
from vprlib.pipeline.runtime import RuntimeSettings
from vprlib.places.truth import RadiusOrOwn
from vprlib.train import log
from vprlib.train.cache import cache_at
from vprlib.train.data import SplitFiles, read_training_data
from vprlib.train.log import open_scalars
from vprlib.train.settings import TrainSettings
from vprlib.train.start import read_start
from vprlib.train.trainer import Trainer


class Params(StageParams):
    train: Annotated[TrainSettings, At("train")]
    images: Annotated[ImageSettings, At("datasets.{training}.images")]
    val_images: Annotated[ImageSettings, At("datasets.{validation}.images")]
    val_radius_m: Annotated[RadiusOrOwn, At("datasets.{validation}.radius_m")]
    folder: Annotated[str, At("datasets.{training}.folder")]
    val_folder: Annotated[str, At("datasets.{validation}.folder")]
    runtime: Annotated[RuntimeSettings, At("runtime")]


def main(training: str, validation: str, start: str) -> None:
    p = Params.load(training=training, validation=validation)
    train = SplitFiles.of(training, p.folder, p.images)
    val = SplitFiles.of(validation, p.val_folder, p.val_images)
    data = read_training_data(train, val, p.val_radius_m, p.train)
    inputs = (paths.model(start), *train.indices, *val.indices)
    model = read_start(paths.model(start))
    stored = cache_at(paths.CACHE, p.runtime, typer.echo)
    device = prepare(p.runtime)
    settings = p.train.resolved(device, typer.echo)
    values = p.model_dump(exclude={"runtime"}) | {"train": settings.model_dump()}
    kept = scratch_for(paths.SCRATCH, "train", values, inputs)
    with joined(device) as group:
        trainer = Trainer(model, data, settings, device, p.runtime, kept, stored, group)
        is_shown = p.runtime.tensorboard and group.is_first
        with open_scalars(paths.TENSORBOARD / kept.folder.name, is_shown) as on_epoch:
            outcome = trainer.run(on_epoch, typer.echo)
    if not group.is_first:
        return
    summary = log.summarise(outcome, data, settings.precision)
    write_csv(paths.TRAIN_LOG, log.COLUMNS, log.rows(outcome.log))
    write_bytes(paths.TRAIN_PLOT, log.plot(outcome.log))
    write_json(paths.TRAIN_METRICS, summary)
    history = {"trained_on": training, "start": start, "best_epoch": outcome.best.epoch}
    write_model(paths.model("trained"), outcome.model, history)
    kept.remove()
    typer.echo(log.sentence(summary))


if __name__ == "__main__":
    launch.run(main)
