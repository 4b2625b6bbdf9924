"""Fits what turns descriptors into a code, on the training sample alone."""

from typing import Annotated

import typer

from vprlib.descriptors.codes import Kept, fit_code
from vprlib.pipeline import command, paths
from vprlib.pipeline.params import At, SampleSeed, StageParams
from vprlib.pipeline.runtime import RuntimeSettings


class Params(StageParams):
    keep: Annotated[Kept, At("code_defs.{code}.keep")]
    seed: Annotated[SampleSeed, At("whitening.seed")]
    runtime: Annotated[RuntimeSettings, At("runtime")]


def main(variant: str, code: str) -> None:
    p = Params.load(code=code)
    out, sample, whitening = (
        paths.coder(variant, code),
        paths.fit_sample(variant),
        paths.whitening(variant),
    )
    fit_code(out, code, p.keep, sample, whitening, p.seed, p.runtime)
    typer.echo(f"{variant}, {code}: {p.keep.sentence()}, a coder of {out.stat().st_size:,} bytes")


if __name__ == "__main__":
    command.run(main)
