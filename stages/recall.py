"""Searches every query in the database and counts how often the place was found."""

from pathlib import Path
from typing import Annotated

import typer

from vprlib.descriptors.files import failed_rows, opened_code
from vprlib.descriptors.settings import SearchSettings
from vprlib.evaluate import charts
from vprlib.evaluate.intervals import IntervalSettings, query_locations, with_intervals
from vprlib.evaluate.protocols import LeftOut, judged, measure, rank
from vprlib.evaluate.recall import Protocol, RecallSettings
from vprlib.evaluate.sanity import doubted
from vprlib.images.index import check_order, read_index
from vprlib.pipeline import command
from vprlib.pipeline.artifacts import write_bytes, write_csv, write_hdf5, write_json
from vprlib.pipeline.params import At, StageParams
from vprlib.pipeline.runtime import RuntimeSettings
from vprlib.places.truth import RadiusOrOwn, read_truth
from vprlib.search.approximate import searcher


class Params(StageParams):
    recall: Annotated[RecallSettings, At("recall")]
    interval: Annotated[IntervalSettings, At("interval")]
    radius_m: Annotated[RadiusOrOwn, At("datasets.{dataset}.radius_m")]
    protocol: Annotated[Protocol, At("datasets.{dataset}.protocol")]
    search: Annotated[SearchSettings | None, At("code_defs.{code}.search")]
    runtime: Annotated[RuntimeSettings, At("runtime")]


def main(
    dataset: str = typer.Option(),
    variant: str = typer.Option(),
    code: str = typer.Option(),
    db_index: Path = typer.Option(),
    queries_index: Path = typer.Option(),
    db: Path = typer.Option(),
    queries: Path = typer.Option(),
    coded: Path = typer.Option(),
    search_index: Path = typer.Option(),
    verdict: Path = typer.Option(),
    predictions_out: Path = typer.Option(),
    metrics_out: Path = typer.Option(),
    curve_out: Path = typer.Option(),
    plot_out: Path = typer.Option(),
) -> None:
    p = Params.load(dataset=dataset, code=code)
    database, asked = read_index(db_index), read_index(queries_index)
    truth = judged(
        p.protocol, read_truth(queries_index, asked, database, p.radius_m), database, asked
    )
    check_order(db, database)
    check_order(queries, asked)
    left_out = LeftOut(failed_rows(queries), failed_rows(db))
    with (
        opened_code(coded, "database", db, len(database)) as stored,
        opened_code(coded, "queries", queries, len(asked)) as wanted,
    ):
        columns, search = p.recall.columns, searcher(search_index, p.search)
        ranking = rank(p.protocol, wanted, stored, truth, columns, p.runtime, left_out, search)
        measured = measure(p.protocol, ranking, truth, p.recall, left_out)
        doubts = doubted(measured, stored, wanted, truth, variant)
    place = query_locations(asked.positions, truth, p.interval.location_m)
    is_listed = truth.radius_m is None
    result = with_intervals(measured, place, is_listed, p.interval)
    title = f"{dataset}, {variant}, {code}, {p.protocol}"
    radius = {} if truth.radius_m is None else {"radius_m": truth.radius_m}
    write_hdf5(
        predictions_out,
        {"indices": ranking.rows, "distances": ranking.distances, "hits": result.right},
        {"set": dataset, "variant": variant, "code": code, "protocol": p.protocol, **radius},
    )
    rows = [(*point, *ends) for point, ends in zip(result.curve, result.ends, strict=True)]
    write_csv(curve_out, ("n", "recall", "low", "high"), rows)
    write_bytes(plot_out, charts.recall_curve(result.curve, result.ends, title))
    write_json(metrics_out, result.metrics)
    leak = verdict.read_text(encoding="utf-8").strip()
    typer.echo("; ".join([f"{title}: {result.sentence()}", *doubts, *([leak] if leak else [])]))


if __name__ == "__main__":
    command.run(main)
