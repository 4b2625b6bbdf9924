"""Checks that the switches of params.yaml agree with each other, before anything is computed."""

from pathlib import Path
from typing import Annotated

import typer

from vprlib import command
from vprlib.artifacts import write_text
from vprlib.params import At, StageParams
from vprlib.switches import SetPlace, check, check_specifications


class Params(StageParams):
    train_on: Annotated[str, At("train_on")]
    eval_on: Annotated[list[str], At("eval_on")]
    variants: Annotated[list[str], At("variants")]
    codes: Annotated[list[str], At("codes")]
    sets: Annotated[dict[str, SetPlace], At("sets")]


def main(raw: Path = typer.Option(), out: Path = typer.Option()) -> None:
    p = Params.load()
    check(p.train_on, p.eval_on, p.variants, p.codes, p.sets)
    check_specifications(p.sets, raw)
    write_text(out, "The switches agree.\n")  # never other words: nothing goes stale by this stage
    typer.echo(f"switches: train on {p.train_on}, evaluate on {', '.join(p.eval_on)}")


if __name__ == "__main__":
    command.run(main)
