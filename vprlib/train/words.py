"""Visual words by k-means (Faiss) over all sampled descriptors."""

from dataclasses import dataclass
from pathlib import Path

import faiss
import numpy as np
from pydantic import Field

from vprlib.pipeline.inside import Name
from vprlib.pipeline.params import Clusters, Section, Seed, UserError
from vprlib.pipeline.stored import reading


class KmeansSettings(Section):
    """The visual words."""

    clusters: Clusters = 64  # K
    iterations: int = Field(100, ge=1, le=10**6)
    seed: Seed = 1
    file: Name | None = None  # words in data/raw/weights, instead of k-means


@dataclass(frozen=True)
class Clustering:
    centroids: np.ndarray  # [K, D] float32
    objective: np.ndarray  # sum of squared distances by iteration, until nothing moves


def cluster(descriptors: np.ndarray, settings: KmeansSettings, threads: int) -> Clustering:
    """Centroids of all descriptors [n, D]."""
    count, dim = descriptors.shape
    if settings.clusters > count:
        raise UserError(
            f"params.yaml: kmeans.clusters is {settings.clusters}, but the sample has {count}"
            " descriptors: lower it, or sample more images or positions."
        )
    faiss.omp_set_num_threads(threads)
    kmeans = faiss.Kmeans(
        dim,
        settings.clusters,
        niter=settings.iterations,
        seed=settings.seed,
        min_points_per_centroid=1,
        max_points_per_centroid=count,  # by default Faiss silently keeps 256 per centroid
    )
    kmeans.train(np.ascontiguousarray(descriptors, dtype=np.float32))
    return Clustering(kmeans.centroids.copy(), np.array(kmeans.obj))


def no_words(dim: int) -> Clustering:
    """No words: for a pool without words, or a network that has its own."""
    return Clustering(np.zeros((0, dim), np.float32), np.zeros(0))


def sentence(found: Clustering, count: int) -> str:
    """A line about the clustering."""
    if not len(found.centroids):
        return "k-means: no words needed"
    return (
        f"k-means: {len(found.centroids)} words of {count} descriptors,"
        f" mean squared distance {found.objective[-1] / count:.4f}"
    )


def read_descriptors(sample_path: Path) -> tuple[np.ndarray, str]:
    """The sampled descriptors and the name of the set that they come from."""
    with reading(sample_path) as file:
        return file.finite("descriptors", "N D"), file.text("set")
