"""Writes all that makes a code of a descriptor, learnt from the training database alone."""

from pathlib import Path
from typing import Annotated

import typer

from vprlib.descriptors.codes import BytesOrNone, QueryForm, WhitenedOrAll, as_settings, fit_code
from vprlib.descriptors.files import SampleSeed
from vprlib.descriptors.matrix import MatrixSettings
from vprlib.descriptors.quantisers import Precision
from vprlib.pipeline import command
from vprlib.pipeline.params import At, StageParams
from vprlib.pipeline.runtime import RuntimeSettings


class Params(StageParams):
    # not the whole entry: how a code is searched makes no other one
    whiten: Annotated[WhitenedOrAll, At("code_defs.{code}.whiten")]
    precision: Annotated[Precision, At("code_defs.{code}.precision")]
    bytes: Annotated[BytesOrNone, At("code_defs.{code}.bytes")]
    query: Annotated[QueryForm, At("code_defs.{code}.query")]
    matrix: Annotated[MatrixSettings | None, At("code_defs.{code}.matrix")]
    seed: Annotated[SampleSeed, At("whitening.seed")]
    runtime: Annotated[RuntimeSettings, At("runtime")]


def main(
    code: str = typer.Option(),
    sample: Path = typer.Option(),
    whitening: Path = typer.Option(),
    out: Path = typer.Option(),
) -> None:
    p = Params.load(code=code)
    parts = {"whiten": p.whiten, "precision": p.precision, "bytes": p.bytes}
    settings = as_settings(code, **parts, query=p.query, matrix=p.matrix)
    fit_code(out, code, settings, sample, whitening, p.seed, p.runtime)
    typer.echo(f"{code}: {settings.sentence()}, {out.stat().st_size:,} bytes to make it")


if __name__ == "__main__":
    command.run(main)
