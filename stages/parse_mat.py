"""Reads a specification file, checks every image it names, and writes the index of the set."""

from pathlib import Path
from typing import Annotated

import typer

from vprlib.formats.dialects import read_specification
from vprlib.formats.parse import build_indices, listed_of, summarise
from vprlib.formats.specification import Layout
from vprlib.images.index import Unreadable, write_index
from vprlib.pipeline import command
from vprlib.pipeline.artifacts import write_json
from vprlib.pipeline.params import At, StageParams
from vprlib.pipeline.runtime import RuntimeSettings
from vprlib.places.truth import listed_arrays


class Params(StageParams):
    layout: Annotated[Layout, At("datasets.{dataset}.layout")]
    unreadable: Annotated[Unreadable, At("extraction.unreadable")]
    runtime: Annotated[RuntimeSettings, At("runtime")]


def main(
    dataset: str = typer.Option(),
    mat: Path = typer.Option(),
    images: Path = typer.Option(),
    reports: Path = typer.Option(),
    db_out: Path = typer.Option(),
    queries_out: Path = typer.Option(),
    metrics_out: Path = typer.Option(),
) -> None:
    p = Params.load(dataset=dataset)
    specification = read_specification(mat, images, p.layout)
    metadata = mat.with_suffix(".csv") if mat.suffix == ".mat" else None
    report = reports / f"{dataset}_missing.txt"
    parsed = build_indices(
        dataset, specification, images, metadata, p.layout, report, p.runtime.workers, p.unreadable
    )
    summary, findings = summarise(specification), parsed.findings
    radii = {
        "positive_radius_m": specification.positive_radius_m,
        "training_radius_m": specification.training_radius_m,
    }
    write_index(db_out, parsed.database)
    write_index(queries_out, parsed.queries, radii, listed_arrays(listed_of(specification)))
    unread = {"unreadable": parsed.unread} if parsed.unread else {}
    write_json(metrics_out, {**vars(summary), **vars(findings), **unread})
    left_out = f", {parsed.unread} images that cannot be read ({report})" if unread else ""
    warnings = summary.warning() + findings.warning()
    typer.echo(f"{dataset}: {summary.sentence()}{findings.sentence()}{left_out}{warnings}")


if __name__ == "__main__":
    command.run(main)
