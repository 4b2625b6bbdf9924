"""Finds the local features of a set that gets a second look."""

import time
from typing import Annotated

import typer

from vprlib.images.batches import open_source
from vprlib.images.decode import ImageSettings
from vprlib.images.index import Unreadable
from vprlib.pipeline import command, paths
from vprlib.pipeline.inside import Name
from vprlib.pipeline.params import At
from vprlib.pipeline.paths import Side
from vprlib.pipeline.resume import scratch_for
from vprlib.pipeline.runtime import RuntimeSettings
from vprlib.verify.features import Looker, machine
from vprlib.verify.keypoints import write_keypoints
from vprlib.verify.settings import KeypointSettings

SIDES: tuple[Side, ...] = ("db", "queries")


class Params(KeypointSettings):
    folder: Annotated[Name, At("datasets.{dataset}.folder")]
    exif_rotate: Annotated[bool, At("datasets.{dataset}.images.exif_rotate")]
    unreadable: Annotated[Unreadable, At("extraction.unreadable")]
    runtime: Annotated[RuntimeSettings, At("runtime")]


def main(dataset: str) -> None:
    p, start = Params.load(dataset=dataset), time.perf_counter()
    images = {side: paths.index(dataset, side) for side in SIDES}
    as_stored = ImageSettings(exif_rotate=p.exif_rotate)
    lookers = {
        side: Looker(open_source(path, paths.RAW / p.folder, as_stored), p, p.unreadable)
        for side, path in images.items()
    }
    values = p.model_dump(exclude={"runtime", "unreadable"}) | machine()
    kept = scratch_for(paths.SCRATCH, "keypoints", values, images.values())
    counts = write_keypoints(paths.keypoints(dataset), lookers, kept, p.runtime)
    means = (f"{side} {found.sum() / max(1, len(found)):.0f}" for side, found in counts.items())
    seconds = time.perf_counter() - start
    typer.echo(f"{dataset}: keypoints of an image: {', '.join(means)}; {seconds:.0f} s")


if __name__ == "__main__":
    command.run(main)
