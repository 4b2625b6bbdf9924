"""Draws one part of the built-in city: images, specification file, headings and lights."""

from typing import Annotated

import typer

from vprlib.city.contact import contact_sheet
from vprlib.city.files import metadata_rows, photographs, specification
from vprlib.city.scene import CityParams, PartParams
from vprlib.city.shots import plan
from vprlib.formats.mat import specification_bytes
from vprlib.formats.specification import METADATA_COLUMNS
from vprlib.pipeline import command, paths
from vprlib.pipeline.arrays import image_png
from vprlib.pipeline.artifacts import write_bytes, write_csv, write_folder
from vprlib.pipeline.params import At, StageParams
from vprlib.pipeline.runtime import RuntimeSettings


class Params(StageParams):
    scene: Annotated[CityParams, At("city.scene")]
    part: Annotated[PartParams, At("city.parts.{part}")]
    runtime: Annotated[RuntimeSettings, At("runtime")]


def main(part: str) -> None:
    p = Params.load(part=part)
    city, workers = paths.RAW / "city", p.runtime.workers
    drawn = plan(p.scene, p.part, part)
    digests = [
        write_folder(city / part, photographs(drawn, drawn.database, workers)),
        write_folder(city / "queries_real" / part, photographs(drawn, drawn.queries, workers)),
    ]
    listing = city / f"datasets/city_{part}"
    write_csv(listing.with_suffix(".csv"), METADATA_COLUMNS, metadata_rows(drawn))
    write_bytes(paths.city_plot(part), image_png(contact_sheet(drawn, rows=3)))
    content = specification_bytes(specification(drawn), note=" ".join(digests))
    write_bytes(listing.with_suffix(".mat"), content)
    typer.echo(f"city {part}: drew {len(drawn.database)} tiles and {len(drawn.queries)} queries")


if __name__ == "__main__":
    command.run(main)
