"""Lists the photographs of linked folders as a set, each time: only what changed has effects."""

from typing import Annotated

import typer

from vprlib.formats.photo_words import HEADER
from vprlib.formats.photos import PhotoSettings, list_photographs
from vprlib.formats.specification import Layout
from vprlib.images.exif import Facts
from vprlib.images.seen import remembering
from vprlib.pipeline import command, paths
from vprlib.pipeline.artifacts import write_csv, write_json, write_report
from vprlib.pipeline.cache import cache_at
from vprlib.pipeline.params import At, StageParams
from vprlib.pipeline.runtime import RuntimeSettings


class Params(StageParams):
    settings: Annotated[PhotoSettings, At("photos.{dataset}")]
    layout: Annotated[Layout, At("datasets.{dataset}.layout")]
    runtime: Annotated[RuntimeSettings, At("runtime")]


def main(dataset: str) -> None:
    p = Params.load(dataset=dataset)
    folder, report = paths.RAW / dataset, paths.REPORTS / f"{dataset}_left_out.txt"
    radius_m = p.layout.positive_radius_m
    kept = cache_at(paths.CACHE, p.runtime, typer.echo)
    with remembering(kept, "EXIF", dataset, Facts) as seen:
        given = (folder, p.settings, radius_m, p.runtime.workers, paths.photo_words(dataset))
        found = list_photographs(*given, seen)
    write_csv(paths.photo_list(dataset), found.header, found.rows)
    words = [(name, "database", "words") for name in found.words]
    write_csv(paths.photo_words(dataset), HEADER, words)
    write_report(report, found.left_out)
    write_json(paths.metrics("photos", dataset), found.numbers)
    listed = f" ({report})" if found.left_out else ""
    typer.echo(f"{dataset}: {found.sentence}{listed}")


if __name__ == "__main__":
    command.run(main)
