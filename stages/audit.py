"""Checks that no evaluated image is also in the training or the validation set."""

from typing import Annotated

import typer

from vprlib.evaluate.leaks import Audited, AuditSettings, audit, refuse
from vprlib.images.fingerprints import read_fingerprints
from vprlib.pipeline import command, paths
from vprlib.pipeline.artifacts import write_json
from vprlib.pipeline.inside import Name
from vprlib.pipeline.params import At, StageParams


class Params(StageParams):
    settings: Annotated[AuditSettings, At("audit")]
    folder: Annotated[Name, At("datasets.{dataset}.folder")]
    train_folder: Annotated[Name, At("datasets.{training}.folder")]
    val_folder: Annotated[Name, At("datasets.{validation}.folder")]


def main(dataset: str, training: str, validation: str) -> None:
    p = Params.load(dataset=dataset, training=training, validation=validation)
    folders = {dataset: p.folder, training: p.train_folder, validation: p.val_folder}
    evaluated, train, val = (
        Audited(folders[name], *read_fingerprints(paths.fingerprints(name)))
        for name in (dataset, training, validation)
    )
    found = audit(evaluated, train, val, p.settings)
    refuse(found, p.settings.fatal)
    write_json(paths.metrics("audit", dataset), found.metrics())
    typer.echo(f"audit of {dataset}: {found.sentence()}")


if __name__ == "__main__":
    command.run(main)
