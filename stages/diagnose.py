"""Says what went wrong with each query, and how far the scores can be trusted."""

from typing import Annotated

import typer

from vprlib.evaluate import failures
from vprlib.evaluate.charts import plan, precision_recall
from vprlib.evaluate.confidence import points_of, read_calibration, report, score_set, sentence
from vprlib.evaluate.gallery import misses
from vprlib.evaluate.intervals import IntervalSettings, of_protocol, query_locations
from vprlib.evaluate.predictions import read_judgement
from vprlib.images.batches import ImageSource
from vprlib.images.decode import ImageSettings
from vprlib.pipeline import command, paths
from vprlib.pipeline.artifacts import write_bytes, write_csv, write_json
from vprlib.pipeline.inside import Name
from vprlib.pipeline.params import At, StageParams
from vprlib.places.projection import Zone


class Params(StageParams):
    settings: Annotated[failures.FailureSettings, At("failures")]
    interval: Annotated[IntervalSettings, At("interval")]
    folder: Annotated[Name, At("datasets.{dataset}.folder")]
    images: Annotated[ImageSettings, At("datasets.{dataset}.images")]
    utm_zone: Annotated[Zone, At("datasets.{dataset}.utm_zone")]


def main(dataset: str, variant: str, code: str) -> None:
    p = Params.load(dataset=dataset)
    names, title = (dataset, variant, code), f"{dataset}, {variant}, {code}"
    scored = read_judgement(paths.predictions(*names), paths.index(dataset, "db").parent)
    found, truth = scored.found, scored.truth

    interval = of_protocol(p.interval, scored.protocol, truth)
    a = failures.analyse(found, truth, scored.protocol, p.settings, interval)
    as_stored = ImageSettings(resize=None, exif_rotate=p.images.exif_rotate)
    folder = paths.RAW / p.folder
    queries = ImageSource(found.queries, folder, as_stored)
    database = ImageSource(found.database, folder, as_stored)
    geojson, is_located = failures.on_map(found, a.outcome, p.utm_zone)
    write_json(paths.result_metrics("failures", *names), a.metrics)
    rows = failures.as_rows(found, a.outcome, a.facts)
    write_csv(paths.failures(*names, "csv"), failures.HEADER, rows)
    write_json(paths.failures(*names, "geojson"), geojson)
    outcomes = a.outcome.names()
    drawn = plan(found.database.positions, found.queries.positions, outcomes, title)
    write_bytes(paths.plot(*names, "-plan"), drawn)
    worst = misses(a.worst, found, a.outcome, truth, queries, database, title)
    write_bytes(paths.plot(*names, "-worst"), worst)

    known = read_calibration(paths.calibration(variant, code))
    judged = score_set(scored, known.score, known.distinct_m)
    place = query_locations(found.queries.positions, truth, interval.location_m)
    summary = report(judged, place, known, interval)
    curve = judged.curve.rows()
    write_json(paths.result_metrics("confidence", *names), summary)
    write_csv(paths.confidence_curve(*names), ("recall", "precision", "threshold"), curve)
    points = points_of(summary)
    shown = precision_recall(curve, dataset, known.curve, known.set, points, title)
    write_bytes(paths.plot(*names, "-precision"), shown)

    if not len(found.queries):
        typer.echo(f"{title}: no query, so nothing is known of how often it is right")
        return
    where = "" if is_located else f"; no map: datasets.{dataset}.utm_zone is null"
    typer.echo(f"{title}: {failures.sentence(a.metrics['shares'])}{where}")
    typer.echo(f"{title}: {sentence(summary, dataset)}")


if __name__ == "__main__":
    command.run(main)
