"""Tells what the calibrated scores are worth on a set: precision against recall."""

from pathlib import Path
from typing import Annotated

import typer

from vprlib.evaluate.charts import precision_recall
from vprlib.evaluate.confidence import judge, points_of, read_calibration, report, sentence
from vprlib.evaluate.intervals import IntervalSettings, query_locations
from vprlib.evaluate.predictions import read_judgement
from vprlib.pipeline import command
from vprlib.pipeline.artifacts import write_bytes, write_csv, write_json
from vprlib.pipeline.params import At, StageParams


class Params(StageParams):
    interval: Annotated[IntervalSettings, At("interval")]


def main(
    dataset: str = typer.Option(),
    variant: str = typer.Option(),
    code: str = typer.Option(),
    db_index: Path = typer.Option(),
    queries_index: Path = typer.Option(),
    predictions: Path = typer.Option(),
    calibration: Path = typer.Option(),
    metrics_out: Path = typer.Option(),
    curve_out: Path = typer.Option(),
    plot_out: Path = typer.Option(),
) -> None:
    p = Params.load()
    known = read_calibration(calibration)
    made = read_judgement(predictions, db_index, queries_index)
    judged = judge(made, known.score, known.distinct_m)
    place = query_locations(made.found.queries.positions, made.truth, p.interval.location_m)
    told = report(judged, place, known, p.interval)
    curve, title = judged.curve, f"{dataset}, {variant}, {code}"
    write_json(metrics_out, told)
    write_csv(curve_out, ("recall", "precision", "threshold"), curve.rows())
    plot = precision_recall(curve.rows(), dataset, known.curve, known.set, points_of(told), title)
    write_bytes(plot_out, plot)
    typer.echo(f"{title}: {sentence(told, dataset)}")


if __name__ == "__main__":
    command.run(main)
