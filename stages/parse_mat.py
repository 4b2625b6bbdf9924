"""Reads a specification file, checks every image it names, and writes the index of the set."""

from pathlib import Path
from typing import Annotated

import typer

from vprlib import command
from vprlib.artifacts import write_json
from vprlib.dataset import Layout, build_indices, summarise
from vprlib.dbstruct import read_specification
from vprlib.index import write_index
from vprlib.params import At, StageParams
from vprlib.runtime import RuntimeSettings


class Params(StageParams):
    layout: Annotated[Layout, At("datasets.{dataset}.layout")]
    runtime: Annotated[RuntimeSettings, At("runtime")]


def main(
    dataset: str = typer.Option(),
    mat: Path = typer.Option(),
    images: Path = typer.Option(),
    db_out: Path = typer.Option(),
    queries_out: Path = typer.Option(),
    metrics_out: Path = typer.Option(),
) -> None:
    p = Params.load(dataset=dataset)
    specification = read_specification(mat)
    metadata = mat.with_suffix(".csv")
    database, queries = build_indices(
        dataset, specification, images, metadata, p.layout, p.runtime.workers
    )
    summary = summarise(specification)
    write_index(db_out, database)
    write_index(
        queries_out,
        queries,
        {
            "positive_radius_m": specification.positive_radius_m,
            "training_radius_m": specification.training_radius_m,
        },
    )
    write_json(metrics_out, vars(summary))
    typer.echo(f"{dataset}: {summary.sentence()}")


if __name__ == "__main__":
    command.run(main)
