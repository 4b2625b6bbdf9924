"""Finds from which score on an answer is right so often, on the set that calibrates."""

from pathlib import Path
from typing import Annotated

import typer

from vprlib.evaluate.confidence import ConfidenceSettings, calibrate, judge
from vprlib.evaluate.predictions import read_judgement
from vprlib.pipeline import command
from vprlib.pipeline.artifacts import write_json
from vprlib.pipeline.params import At, StageParams


class Params(StageParams):
    settings: Annotated[ConfidenceSettings, At("confidence")]


def main(
    variant: str = typer.Option(),
    code: str = typer.Option(),
    db_index: Path = typer.Option(),
    queries_index: Path = typer.Option(),
    predictions: Path = typer.Option(),
    out: Path = typer.Option(),
) -> None:
    p = Params.load()
    made = read_judgement(predictions, db_index, queries_index)
    judged = judge(made, p.settings.score, p.settings.distinct_m)
    found = calibrate(judged, p.settings)
    write_json(out, vars(found))
    shown = ", ".join(
        f"{precision} % {'not reached' if threshold is None else f'from {threshold:.3f}'}"
        for precision, threshold in found.thresholds.items()
    )
    typer.echo(f"{variant}, {code}: {p.settings.score} on {judged.set_name}: {shown}")


if __name__ == "__main__":
    command.run(main)
