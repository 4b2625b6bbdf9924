"""Writes all that makes a code of a descriptor, learnt from the training database alone."""

from pathlib import Path
from typing import Annotated

import typer

from vprlib import command
from vprlib.codes import CodeSettings, fit_code
from vprlib.fitting import SampleSeed
from vprlib.params import At, StageParams
from vprlib.runtime import RuntimeSettings


class Params(StageParams):
    settings: Annotated[CodeSettings, At("code_defs.{code}")]
    seed: Annotated[SampleSeed, At("whitening.seed")]
    runtime: Annotated[RuntimeSettings, At("runtime")]


def main(
    code: str = typer.Option(),
    sample: Path = typer.Option(),
    whitening: Path = typer.Option(),
    out: Path = typer.Option(),
) -> None:
    p = Params.load(code=code)
    fit_code(out, code, p.settings, sample, whitening, p.seed, p.runtime)
    typer.echo(f"{code}: {p.settings.sentence()}, {out.stat().st_size:,} bytes to make it")


if __name__ == "__main__":
    command.run(main)
