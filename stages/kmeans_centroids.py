"""Clusters the sampled local descriptors into visual words, or takes the words of a file."""

from typing import Annotated

import typer

from vprlib.interop.words import check_words, read_words
from vprlib.model.settings import PoolKind, has_words
from vprlib.pipeline import command, paths
from vprlib.pipeline.artifacts import write_hdf5
from vprlib.pipeline.inside import inside
from vprlib.pipeline.params import At, StageParams
from vprlib.pipeline.runtime import RuntimeSettings
from vprlib.train.words import KmeansSettings, cluster, no_words, read_descriptors, sentence


class Params(StageParams):
    kmeans: Annotated[KmeansSettings, At("kmeans")]
    pool: Annotated[PoolKind, At("model.pool.kind")]  # only some have words
    runtime: Annotated[RuntimeSettings, At("runtime")]


def main(training: str) -> None:
    p = Params.load()
    descriptors, source = read_descriptors(paths.SAMPLE)
    is_needed, dim = has_words(p.pool), descriptors.shape[1]
    if is_needed and p.kmeans.file is not None:
        path = inside(paths.WEIGHTS, p.kmeans.file, "kmeans.file")
        words = read_words(path)
        check_words(words, p.kmeans.clusters, dim, path)
        write_hdf5(paths.CENTROIDS, words.arrays(), {"file": p.kmeans.file})
        typer.echo(f"k-means: {len(words.centroids)} words taken from {path}")
        return
    found = cluster(descriptors, p.kmeans, p.runtime.cores) if is_needed else no_words(dim)
    write_hdf5(
        paths.CENTROIDS,
        {"centroids": found.centroids, "objective": found.objective},
        {"seed": p.kmeans.seed, "descriptors_used": len(descriptors), "set": source},
    )
    typer.echo(sentence(found, len(descriptors)))


if __name__ == "__main__":
    command.run(main)
