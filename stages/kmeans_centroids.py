"""Clusters the sampled local descriptors into visual words, or takes the words of a file."""

from pathlib import Path
from typing import Annotated

import typer

from vprlib import command
from vprlib.artifacts import write_hdf5
from vprlib.interop.words import check_words, read_words
from vprlib.kmeans import KmeansSettings, cluster, read_descriptors
from vprlib.params import At, StageParams
from vprlib.runtime import RuntimeSettings


class Params(StageParams):
    start: Annotated[str | None, At("recipes.{recipe}.model.start")]
    kmeans: Annotated[KmeansSettings, At("recipes.{recipe}.kmeans")]
    runtime: Annotated[RuntimeSettings, At("runtime")]


def main(
    recipe: str = typer.Option(),
    sample: Path = typer.Option(),
    weights: Path = typer.Option(),
    out: Path = typer.Option(),
) -> None:
    p = Params.load(recipe=recipe)
    descriptors, source = read_descriptors(sample)
    if p.start is not None:
        write_hdf5(out, {"centroids": descriptors})
        typer.echo(f"k-means: nothing to do, since the model starts from {p.start}")
        return
    if p.kmeans.file is not None:
        path = weights / p.kmeans.file
        words = read_words(path)
        check_words(words, p.kmeans.clusters, descriptors.shape[1], path)
        write_hdf5(out, words.arrays(), {"file": p.kmeans.file})
        typer.echo(f"k-means: {len(words.centroids)} words taken from {path}")
        return
    found = cluster(descriptors, p.kmeans, p.runtime.cores)
    write_hdf5(
        out,
        {"centroids": found.centroids, "objective": found.objective},
        {"seed": p.kmeans.seed, "descriptors_used": len(descriptors), "set": source},
    )
    typer.echo(
        f"k-means: {len(found.centroids)} words of {len(descriptors)} descriptors,"
        f" mean squared distance {found.objective[-1] / len(descriptors):.4f}"
    )


if __name__ == "__main__":
    command.run(main)
