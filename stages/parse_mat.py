"""Reads what lists the images of a set, checks every image, and writes the set's index."""

from typing import Annotated

import typer

from vprlib.formats.dialects import read_specification
from vprlib.formats.parse import build_indices, listed_of, summarise
from vprlib.formats.specification import Layout
from vprlib.images.fingerprints import fingerprints_of, write_fingerprints
from vprlib.images.index import Looked, Unreadable, write_index
from vprlib.images.seen import remembering
from vprlib.pipeline import command, paths
from vprlib.pipeline.artifacts import write_json
from vprlib.pipeline.cache import cache_at
from vprlib.pipeline.inside import Name
from vprlib.pipeline.params import At, StageParams
from vprlib.pipeline.runtime import RuntimeSettings
from vprlib.places.truth import listed_arrays


class Params(StageParams):
    folder: Annotated[Name, At("datasets.{dataset}.folder")]
    list: Annotated[Name, At("datasets.{dataset}.list")]
    layout: Annotated[Layout, At("datasets.{dataset}.layout")]
    unreadable: Annotated[Unreadable, At("extraction.unreadable")]
    runtime: Annotated[RuntimeSettings, At("runtime")]


def main(dataset: str) -> None:
    p = Params.load(dataset=dataset)
    images = paths.RAW / p.folder
    listing, report = images / p.list, paths.REPORTS / f"{dataset}_missing.txt"
    specification = read_specification(listing, images, p.layout)
    metadata = listing.with_suffix(".csv") if listing.suffix == ".mat" else None
    given = (specification, images, metadata, p.layout, report, p.runtime.workers, p.unreadable)
    kept = cache_at(paths.CACHE, p.runtime, typer.echo)
    with remembering(kept, "sizes and digests", dataset, Looked) as seen:
        parsed = build_indices(dataset, *given, seen)
    summary, findings = summarise(specification), parsed.findings
    radii = {
        "positive_radius_m": specification.positive_radius_m,
        "training_radius_m": specification.training_radius_m,
    }
    truth = listed_arrays(listed_of(specification))
    write_index(paths.index(dataset, "db"), parsed.database)
    write_index(paths.index(dataset, "queries"), parsed.queries, radii, truth)
    sides = (fingerprints_of(parsed.database), fingerprints_of(parsed.queries))
    write_fingerprints(paths.fingerprints(dataset), *sides)
    unread = {"unreadable": parsed.unread} if parsed.unread else {}
    write_json(paths.metrics("sets", dataset), {**vars(summary), **vars(findings), **unread})
    left_out = f", {parsed.unread} images that cannot be read ({report})" if unread else ""
    warnings = summary.warning() + findings.warning()
    typer.echo(f"{dataset}: {summary.sentence()}{findings.sentence()}{left_out}{warnings}")


if __name__ == "__main__":
    command.run(main)
