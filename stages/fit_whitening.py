"""Fits whitening on the sampled descriptors of the training database."""

from pathlib import Path
from typing import Annotated

import typer

from vprlib.descriptors.files import Count, opened_sample
from vprlib.descriptors.whitening import fit
from vprlib.pipeline import command
from vprlib.pipeline.artifacts import write_bytes, write_hdf5
from vprlib.pipeline.params import At, StageParams
from vprlib.pipeline.runtime import RuntimeSettings


class Params(StageParams):
    dimensions: Annotated[Count, At("whitening.dimensions")]
    runtime: Annotated[RuntimeSettings, At("runtime")]


def main(sample: Path = typer.Option(), out: Path = typer.Option()) -> None:
    p = Params.load()
    if not sample.stat().st_size:
        write_bytes(out, b"")
        typer.echo("whitening: no code in use is fitted")
        return
    with opened_sample(sample) as (descriptors, origin):
        fitted = fit(descriptors, p.dimensions, p.runtime.memory_bytes, p.runtime.cores)
    write_hdf5(out, vars(fitted), {**origin, "dimensions": p.dimensions})
    typer.echo(
        f"whitening: {len(fitted.projection)} of {len(fitted.mean)} dimensions hold"
        f" {fitted.variance_ratio.sum():.1%} of the variance of {origin['descriptors']} descriptors"
        f" of {origin['set']}"
    )


if __name__ == "__main__":
    command.run(main)
