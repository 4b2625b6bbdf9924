"""Trains the network on one set, and keeps the epoch that does best on another."""

import typer

from vprlib.model.device import prepare
from vprlib.model.model import read_model, write_model
from vprlib.pipeline import launch, paths
from vprlib.pipeline.artifacts import write_bytes, write_csv, write_json
from vprlib.pipeline.cache import cache_at
from vprlib.pipeline.group import joined
from vprlib.pipeline.resume import scratch_for
from vprlib.train import log
from vprlib.train.data import TrainingParams as Params
from vprlib.train.data import read_training_data
from vprlib.train.log import open_scalars
from vprlib.train.trainer import Trainer


def main(training: str, validation: str, start: str) -> None:
    p = Params.load(training=training, validation=validation)
    train, val = p.files(training, validation)
    data = read_training_data(train, val, p.val_radius_m, p.train)
    inputs = (paths.model(start), *p.teacher_files, *train.indices, *val.indices)
    model = read_model(paths.model(start))
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
    history |= {"teacher": settings.teacher} if p.teacher_files else {}
    write_model(paths.model("trained"), outcome.model, history)
    kept.remove()
    typer.echo(log.sentence(summary))


if __name__ == "__main__":
    launch.run(main)
