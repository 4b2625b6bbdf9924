"""The options that several commands share: the same name, default and help everywhere."""

from pathlib import Path
from typing import Annotated

import typer

from vprlib.pipeline.params import At, Names, StageParams

_OUT = typer.Option("--out", help="the file or folder to write")

Dataset = Annotated[
    str | None, typer.Option("--set", help="a data set in params.yaml; default: first of eval_on")
]
Variant = Annotated[
    str | None, typer.Option(help="a network; default: trained, else the last of variants")
]
Code = Annotated[
    str | None, typer.Option(help="how descriptors are stored; default: first of codes")
]
Out = Annotated[Path, _OUT]
OptionalOut = Annotated[Path | None, _OUT]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON instead of text")]


class InUse(StageParams):
    """The names that params.yaml uses, and those that it knows."""

    eval_on: Annotated[Names, At("eval_on")]
    variants: Annotated[Names, At("variants")]
    codes: Annotated[Names, At("codes")]
    datasets: Annotated[dict[str, object], At("datasets")]
    networks: Annotated[dict[str, object], At("networks")]
    derived: Annotated[dict[str, object], At("derived")]
    code_defs: Annotated[dict[str, object], At("code_defs")]
