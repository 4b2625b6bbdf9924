"""Clusters the sampled local descriptors into visual words, or takes the words of a file."""

from pathlib import Path
from typing import Annotated

import typer

from vprlib.interop.words import check_words, read_words
from vprlib.model.settings import PoolKind, has_words
from vprlib.pipeline import command
from vprlib.pipeline.artifacts import write_hdf5
from vprlib.pipeline.params import At, StageParams
from vprlib.pipeline.runtime import RuntimeSettings
from vprlib.train.words import KmeansSettings, cluster, no_words, read_descriptors, sentence


class Params(StageParams):
    start: Annotated[str | None, At("recipes.{recipe}.model.start")]
    kmeans: Annotated[KmeansSettings, At("recipes.{recipe}.kmeans")]
    pool: Annotated[PoolKind, At("recipes.{recipe}.model.pool.kind")]  # not all have words
    runtime: Annotated[RuntimeSettings, At("runtime")]


def main(
    recipe: str = typer.Option(),
    sample: Path = typer.Option(),
    weights: Path = typer.Option(),
    out: Path = typer.Option(),
) -> None:
    p = Params.load(recipe=recipe)
    descriptors, source = read_descriptors(sample)
    is_needed = p.start is None and has_words(p.pool)
    if is_needed and p.kmeans.file is not None:
        path = weights / p.kmeans.file
        words = read_words(path)
        check_words(words, p.kmeans.clusters, descriptors.shape[1], path)
        write_hdf5(out, words.arrays(), {"file": p.kmeans.file})
        typer.echo(f"k-means: {len(words.centroids)} words taken from {path}")
        return
    dim = descriptors.shape[1]
    found = cluster(descriptors, p.kmeans, p.runtime.cores) if is_needed else no_words(dim)
    write_hdf5(
        out,
        {"centroids": found.centroids, "objective": found.objective},
        {"seed": p.kmeans.seed, "descriptors_used": len(descriptors), "set": source},
    )
    typer.echo(sentence(found, len(descriptors)))


if __name__ == "__main__":
    command.run(main)
