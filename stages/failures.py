"""Says what became of each query, of which queries it becomes so, and shows the worst misses."""

from pathlib import Path
from typing import Annotated

import typer

from vprlib.evaluate.charts import plan
from vprlib.evaluate.failures import HEADER, FailureSettings, analyse, as_rows, on_map, sentence
from vprlib.evaluate.gallery import misses
from vprlib.evaluate.geojson import Zone
from vprlib.evaluate.intervals import IntervalSettings
from vprlib.evaluate.predictions import read_judgement
from vprlib.images.batches import ImageSource
from vprlib.images.decode import ImageSettings
from vprlib.pipeline import command
from vprlib.pipeline.artifacts import write_bytes, write_csv, write_json
from vprlib.pipeline.params import At, StageParams


class Params(StageParams):
    settings: Annotated[FailureSettings, At("failures")]
    interval: Annotated[IntervalSettings, At("interval")]
    folder: Annotated[str, At("sets.{dataset}.folder")]
    images: Annotated[ImageSettings, At("datasets.{dataset}.images")]
    utm_zone: Annotated[Zone, At("datasets.{dataset}.utm_zone")]


def main(
    dataset: str = typer.Option(),
    variant: str = typer.Option(),
    code: str = typer.Option(),
    db_index: Path = typer.Option(),
    queries_index: Path = typer.Option(),
    predictions: Path = typer.Option(),
    raw: Path = typer.Option(),
    metrics_out: Path = typer.Option(),
    rows_out: Path = typer.Option(),
    map_out: Path = typer.Option(),
    plan_out: Path = typer.Option(),
    worst_out: Path = typer.Option(),
) -> None:
    p = Params.load(dataset=dataset)
    made = read_judgement(predictions, db_index, queries_index)
    a = analyse(made.found, made.truth, made.protocol, p.settings, p.interval)
    title, found = f"{dataset}, {variant}, {code}", made.found
    as_stored = ImageSettings(resize=None, exif_rotate=p.images.exif_rotate)
    sources = [ImageSource(i, raw / p.folder, as_stored) for i in (found.queries, found.database)]
    places, is_located = on_map(found, a.outcome, p.utm_zone)
    write_json(metrics_out, a.metrics)
    write_csv(rows_out, HEADER, as_rows(found, a.outcome, a.facts))
    write_json(map_out, places)
    names = a.outcome.names()
    write_bytes(plan_out, plan(found.database.positions, found.queries.positions, names, title))
    write_bytes(worst_out, misses(a.worst, found, a.outcome, made.truth, *sources, title))
    where = "" if is_located else f"; no map: datasets.{dataset}.utm_zone is null"
    typer.echo(f"{title}: {sentence(a.metrics['shares'])}{where}")


if __name__ == "__main__":
    command.run(main)
