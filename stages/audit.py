"""Checks that what is evaluated stayed out of training, and says so where it did not."""

from pathlib import Path
from typing import Annotated

import typer

from vprlib.compress.settings import saw_training
from vprlib.descriptors.files import Count, SampleSeed, is_needed
from vprlib.evaluate.leaks import Audited, AuditSettings, audit, refuse, whitening_rows, words_rows
from vprlib.images.fingerprints import read_fingerprints
from vprlib.pipeline import command
from vprlib.pipeline.artifacts import write_json, write_text
from vprlib.pipeline.params import At, StageParams


class Params(StageParams):
    settings: Annotated[AuditSettings, At("audit")]
    folder: Annotated[str, At("sets.{dataset}.folder")]
    train_folder: Annotated[str, At("sets.{recipe}_train.folder")]
    val_folder: Annotated[str, At("sets.{recipe}_val.folder")]
    descriptors: Annotated[Count, At("whitening.descriptors")]
    seed: Annotated[SampleSeed, At("whitening.seed")]


def main(
    recipe: str = typer.Option(),
    dataset: str = typer.Option(),
    evaluated: Path = typer.Option(),
    train: Path = typer.Option(),
    val: Path = typer.Option(),
    sample: Path = typer.Option(),
    codes: Path = typer.Option(),
    variants: Path = typer.Option(),
    metrics_out: Path = typer.Option(),
    verdict_out: Path = typer.Option(),
) -> None:
    p = Params.load(recipe=recipe, dataset=dataset)
    asked, training, validation = (
        Audited(folder, *read_fingerprints(path))
        for folder, path in ((p.folder, evaluated), (p.train_folder, train), (p.val_folder, val))
    )
    fitted_on = whitening_rows(is_needed(codes), len(training.database), p.descriptors, p.seed)
    words = words_rows(sample, training.database)
    has_seen = saw_training(variants)
    found = audit(asked, training, validation, words, fitted_on, has_seen, p.settings)
    refuse(found, p.settings.fatal)
    write_json(metrics_out, found.metrics())
    write_text(verdict_out, f"{found.verdict()}\n")
    typer.echo(f"audit of {dataset}: {found.sentence()}")


if __name__ == "__main__":
    command.run(main)
