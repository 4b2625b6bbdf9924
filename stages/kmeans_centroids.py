"""Clusters the sampled local descriptors into visual words."""

from pathlib import Path
from typing import Annotated

import typer

from vprlib import command
from vprlib.artifacts import write_hdf5
from vprlib.kmeans import KmeansSettings, cluster, read_descriptors
from vprlib.params import At, StageParams
from vprlib.runtime import RuntimeSettings


class Params(StageParams):
    kmeans: Annotated[KmeansSettings, At("recipes.{recipe}.kmeans")]
    runtime: Annotated[RuntimeSettings, At("runtime")]


def main(
    recipe: str = typer.Option(), sample: Path = typer.Option(), out: Path = typer.Option()
) -> None:
    p = Params.load(recipe=recipe)
    descriptors, source = read_descriptors(sample)
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
