"""Clusters the sampled local descriptors into visual words."""

from pathlib import Path
from typing import Annotated

import typer

from vprlib import command
from vprlib.artifacts import write_hdf5
from vprlib.kmeans import KmeansSettings, cluster, no_words, read_descriptors, sentence
from vprlib.params import At, StageParams
from vprlib.pool_settings import PoolKind, has_words
from vprlib.runtime import RuntimeSettings


class Params(StageParams):
    kmeans: Annotated[KmeansSettings, At("recipes.{recipe}.kmeans")]
    pool: Annotated[PoolKind, At("recipes.{recipe}.model.pool.kind")]  # not all have words
    runtime: Annotated[RuntimeSettings, At("runtime")]


def main(
    recipe: str = typer.Option(), sample: Path = typer.Option(), out: Path = typer.Option()
) -> None:
    p = Params.load(recipe=recipe)
    descriptors, source = read_descriptors(sample)
    if has_words(p.pool):
        found = cluster(descriptors, p.kmeans, p.runtime.cores)
    else:
        found = no_words(descriptors.shape[1])
    write_hdf5(
        out,
        {"centroids": found.centroids, "objective": found.objective},
        {"seed": p.kmeans.seed, "descriptors_used": len(descriptors), "set": source},
    )
    typer.echo(sentence(found, len(descriptors)))


if __name__ == "__main__":
    command.run(main)
