"""Trains the network with triplets on one set, and keeps the epoch that does best on another."""

from pathlib import Path
from typing import Annotated

import typer

from vprlib.images.decode import ImageSettings
from vprlib.model.device import prepare
from vprlib.model.model import read_model, write_model
from vprlib.pipeline import launch
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
from vprlib.train.trainer import Trainer


class Params(StageParams):
    train: Annotated[TrainSettings, At("recipes.{recipe}.train")]
    images: Annotated[ImageSettings, At("datasets.{recipe}_train.images")]
    val_images: Annotated[ImageSettings, At("datasets.{recipe}_val.images")]
    val_radius_m: Annotated[RadiusOrOwn, At("datasets.{recipe}_val.radius_m")]
    folder: Annotated[str, At("sets.{recipe}_train.folder")]
    val_folder: Annotated[str, At("sets.{recipe}_val.folder")]
    runtime: Annotated[RuntimeSettings, At("runtime")]


def main(
    recipe: str = typer.Option(),
    start: Path = typer.Option(),
    db: Path = typer.Option(),
    queries: Path = typer.Option(),
    val_db: Path = typer.Option(),
    val_queries: Path = typer.Option(),
    raw: Path = typer.Option(),
    scratch: Path = typer.Option(),
    store: Path = typer.Option(),
    scalars: Path = typer.Option(),
    out: Path = typer.Option(),
    metrics_out: Path = typer.Option(),
    log_out: Path = typer.Option(),
    plot_out: Path = typer.Option(),
) -> None:
    p = Params.load(recipe=recipe)
    train = SplitFiles(db, queries, raw / p.folder, p.images)
    val = SplitFiles(val_db, val_queries, raw / p.val_folder, p.val_images)
    data = read_training_data(train, val, p.val_radius_m, p.train)
    inputs = (start, db, queries, val_db, val_queries)
    model, stored = read_model(start), cache_at(store, p.runtime, typer.echo)
    device = prepare(p.runtime)
    settings = p.train.resolved(device, typer.echo)
    values = p.model_dump(exclude={"runtime"}) | {"train": settings.model_dump()}
    kept = scratch_for(scratch, "train", values, inputs)
    with joined(device) as group:
        trainer = Trainer(model, data, settings, device, p.runtime, kept, stored, group)
        is_shown = p.runtime.tensorboard and group.is_first
        with open_scalars(scalars / kept.folder.name, is_shown) as on_epoch:
            outcome = trainer.run(on_epoch, typer.echo)
    if not group.is_first:
        return
    summary = log.summarise(outcome, data, settings.precision)
    write_csv(log_out, log.COLUMNS, log.rows(outcome.log))
    write_bytes(plot_out, log.plot(outcome.log))
    write_json(metrics_out, summary)
    write_model(out, outcome.model, {"recipe": recipe, "best_epoch": outcome.best.epoch})
    kept.remove()
    typer.echo(log.sentence(summary))


if __name__ == "__main__":
    launch.run(main)
