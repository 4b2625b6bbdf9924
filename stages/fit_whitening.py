"""Fits whitening on descriptors of training images."""

from typing import Annotated

import typer

from vprlib.descriptors.files import opened_sample
from vprlib.descriptors.whitening import fit
from vprlib.pipeline import command, paths
from vprlib.pipeline.artifacts import write_hdf5
from vprlib.pipeline.params import At, Count, StageParams
from vprlib.pipeline.runtime import RuntimeSettings


class Params(StageParams):
    dimensions: Annotated[Count, At("whitening.dimensions")]
    runtime: Annotated[RuntimeSettings, At("runtime")]


def main(variant: str) -> None:
    p = Params.load()
    with opened_sample(paths.fit_sample(variant)) as (descriptors, origin):
        fitted = fit(descriptors, p.dimensions, p.runtime.memory_bytes, p.runtime.cores)
    facts = {**origin, "dimensions": p.dimensions}
    write_hdf5(paths.whitening(variant), vars(fitted), facts)
    typer.echo(
        f"whitening: {len(fitted.projection)} of {len(fitted.mean)} dimensions hold"
        f" {fitted.variance_ratio.sum():.1%} of the variance of {origin['descriptors']} descriptors"
        f" of {origin['set']}"
    )


if __name__ == "__main__":
    command.run(main)
