"""Draws one part of the built-in city: photographs, specification file, headings and lights."""

from pathlib import Path
from typing import Annotated

import typer

from vprlib.city.contact import contact_sheet
from vprlib.city.files import metadata_rows, photographs, specification
from vprlib.city.shots import CityParams, PartParams, plan
from vprlib.evaluate import charts
from vprlib.formats.mat import specification_bytes
from vprlib.formats.specification import METADATA_COLUMNS
from vprlib.pipeline import command
from vprlib.pipeline.artifacts import write_bytes, write_csv, write_folder
from vprlib.pipeline.params import At, StageParams
from vprlib.pipeline.runtime import RuntimeSettings


class Params(StageParams):
    scene: Annotated[CityParams, At("city.scene")]
    part: Annotated[PartParams, At("city.parts.{part}")]
    runtime: Annotated[RuntimeSettings, At("runtime")]


def main(
    part: str = typer.Option(),
    images_out: Path = typer.Option(),
    queries_out: Path = typer.Option(),
    mat_out: Path = typer.Option(),
    csv_out: Path = typer.Option(),
    sheet_out: Path = typer.Option(),
) -> None:
    p = Params.load(part=part)
    drawn = plan(p.scene, p.part, part)
    workers = p.runtime.workers
    digests = [
        write_folder(images_out, photographs(drawn, drawn.database, workers)),
        write_folder(queries_out, photographs(drawn, drawn.queries, workers)),
    ]
    write_csv(csv_out, METADATA_COLUMNS, metadata_rows(drawn))
    write_bytes(sheet_out, charts.picture(contact_sheet(drawn, rows=3)))
    write_bytes(mat_out, specification_bytes(specification(drawn), note=" ".join(digests)))
    typer.echo(f"city {part}: drew {len(drawn.database)} tiles and {len(drawn.queries)} queries")


if __name__ == "__main__":
    command.run(main)
