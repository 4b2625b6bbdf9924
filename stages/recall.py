"""Counts how often the place of a query is among its nearest database images."""

from typing import Annotated

import typer

from vprlib.descriptors.files import opened
from vprlib.evaluate.charts import recall_curve
from vprlib.evaluate.intervals import (
    IntervalSettings,
    of_protocol,
    query_locations,
    with_intervals,
    with_sessions,
)
from vprlib.evaluate.protocols import Asked, judged, measure, rank, through_frames
from vprlib.evaluate.recall import Protocol, RecallSettings
from vprlib.evaluate.sanity import doubted
from vprlib.images.index import SESSION, read_index
from vprlib.pipeline import command, paths
from vprlib.pipeline.artifacts import write_bytes, write_csv, write_hdf5, write_json
from vprlib.pipeline.params import At, StageParams
from vprlib.pipeline.runtime import RuntimeSettings
from vprlib.places.truth import RadiusOrOwn, read_truth
from vprlib.search.neighbors import opened_neighbors


class Params(StageParams):
    recall: Annotated[RecallSettings, At("recall")]
    interval: Annotated[IntervalSettings, At("interval")]
    radius_m: Annotated[RadiusOrOwn, At("datasets.{dataset}.radius_m")]
    protocol: Annotated[Protocol, At("datasets.{dataset}.protocol")]
    runtime: Annotated[RuntimeSettings, At("runtime")]


def main(dataset: str, variant: str, code: str) -> None:
    p, names = Params.load(dataset=dataset), (dataset, variant, code)
    database, queries = (read_index(paths.index(dataset, side)) for side in ("db", "queries"))
    own = read_truth(paths.index(dataset, "queries"), queries, database, p.radius_m)
    truth = judged(p.protocol, own, database, queries)
    with (
        opened_neighbors(paths.neighbors(*names)) as single,
        opened(paths.descriptors(*names, "db")) as stored,
        opened(paths.descriptors(*names, "queries")) as wanted,
    ):
        asked = Asked(queries, database, wanted, stored, p.runtime)
        found = through_frames(p.protocol, single, truth, p.recall, asked)
        ranking = rank(p.protocol, found, truth, p.recall.columns)
        measured = measure(p.protocol, ranking, truth, p.recall)
        doubts = doubted(measured, stored, wanted, truth, variant)
    interval = of_protocol(p.interval, p.protocol, truth)
    place = query_locations(queries.positions, truth, interval.location_m)
    result = with_intervals(measured, place, truth.radius_m is None, interval)
    if p.protocol == "sessions" and SESSION in queries.extra:
        result = with_sessions(result, queries.extra[SESSION], interval)

    title = f"{dataset}, {variant}, {code}, {p.recall.rules(p.protocol)}"
    facts = {} if truth.radius_m is None else {"radius_m": truth.radius_m}
    facts |= {} if p.recall.sequence.frames == 1 else {"frames": p.recall.sequence.frames}
    write_hdf5(
        paths.predictions(*names),
        {"indices": ranking.rows, "distances": ranking.distances, "hits": result.right},
        {"set": dataset, "variant": variant, "code": code, "protocol": p.protocol, **facts},
    )
    metrics = paths.result_metrics("recall", *names)
    rows = [(*point, *ends) for point, ends in zip(result.curve, result.ends, strict=True)]
    write_csv(metrics.with_suffix(".csv"), ("n", "recall", "low", "high"), rows)
    write_bytes(paths.plot(*names), recall_curve(result.curve, result.ends, title))
    write_json(metrics, result.metrics)
    typer.echo("; ".join([f"{title}: {result.sentence()}", *doubts]))


if __name__ == "__main__":
    command.run(main)
