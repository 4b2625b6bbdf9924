"""Describes random images of the training database, where a code in use is fitted on them."""

from pathlib import Path
from typing import Annotated

import typer

from vprlib import command
from vprlib.artifacts import write_bytes
from vprlib.batches import open_source
from vprlib.fitting import Count, SampleSeed, choose_rows, is_needed
from vprlib.images import ImageSettings
from vprlib.params import At, StageParams
from vprlib.runtime import RuntimeSettings


class Params(StageParams):
    images: Annotated[ImageSettings, At("datasets.{recipe}_train.images")]
    folder: Annotated[str, At("sets.{recipe}_train.folder")]
    descriptors: Annotated[Count, At("whitening.descriptors")]
    seed: Annotated[SampleSeed, At("whitening.seed")]
    runtime: Annotated[RuntimeSettings, At("runtime")]


def main(
    recipe: str = typer.Option(),
    variant: str = typer.Option(),
    codes: Path = typer.Option(),
    index: Path = typer.Option(),
    model: Path = typer.Option(),
    raw: Path = typer.Option(),
    out: Path = typer.Option(),
) -> None:
    p = Params.load(recipe=recipe)
    if not is_needed(codes):
        write_bytes(out, b"")
        typer.echo(f"{recipe}_train: no code in use is fitted, so no image is described")
        return
    from vprlib.device import prepare  # these load torch
    from vprlib.extraction import extract_rows
    from vprlib.model import read_model

    source = open_source(index, raw / p.folder, p.images)
    rows = choose_rows(len(source.index), p.descriptors, p.seed)
    origin = {"variant": variant, "seed": p.seed}
    shape = extract_rows(
        out, read_model(model), source, rows, prepare(p.runtime), p.runtime, origin
    )
    typer.echo(
        f"{recipe}_train, {variant}: {shape[0]} of {len(source.index)} database images described,"
        f" {shape[1]} dimensions"
    )


if __name__ == "__main__":
    command.run(main)
