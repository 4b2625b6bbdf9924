"""Trains a Faiss index on random rows of the database: same seed, same bytes."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import faiss
import numpy as np

from vprlib.descriptors.rows import Reader, Rows, gather, squared_lengths
from vprlib.descriptors.settings import IndexSettings
from vprlib.pipeline.draws import choose_rows
from vprlib.pipeline.params import PARAMS_PATH, UserError
from vprlib.search.faiss_factory import check_training, inner_index, new_index, storage, transforms
from vprlib.search.request import vector_bytes


@dataclass(frozen=True)
class IndexRequest:
    """Build the index of a code over these rows."""

    code: str
    database: Rows
    settings: IndexSettings
    memory_bytes: int
    threads: int
    excluded: np.ndarray | None = None  # rows that are not added

    @property
    def place(self) -> str:
        """Where the settings stand, for messages."""
        return f"{PARAMS_PATH}: code_defs.{self.code}"

    @property
    def dim(self) -> int:
        return self.database.shape[1]


def train(request: IndexRequest) -> faiss.Index:
    """The index without vectors."""
    faiss.omp_set_num_threads(request.threads)
    index = new_index(request.place, request.settings, request.dim)
    if not index.is_trained:
        sample = _sample(request, index)
        with _every_descriptor(index, len(sample), request.settings.seed):
            index.train(sample)
    _rebuild_graph(index)
    return index


def _sample(request: IndexRequest, index: faiss.Index) -> np.ndarray:
    reader = Reader(request.database, 1, request.excluded)
    chosen = choose_rows(reader.count, request.settings.train, request.settings.seed)
    check_training(request.place, index, request.settings, len(chosen))
    size = 4 * len(chosen) * request.dim
    if size > vector_bytes(request.memory_bytes) // 2:
        raise UserError(
            f"{request.place}.index.train: {len(chosen)} descriptors of {request.dim} dimensions"
            f" take {size / 2**30:.1f} GiB, more than half of runtime.memory_gib"
            f" ({request.memory_bytes / 2**30:.1f}): train on fewer, whiten to fewer dimensions,"
            " or raise the memory."
        )
    sample = gather(request.database, reader.numbers(0, chosen))
    squared_lengths(sample)  # refuses what is not finite, which would end the process in Faiss
    return sample


@contextmanager
def _every_descriptor(index: faiss.Index, count: int, seed: int) -> Iterator[None]:
    """Faiss would silently keep 256 points per centroid, drawn by its own seed.

    OPQ trains a quantizer of its own; it is given one with as many words as the codes have.
    """
    inner = inner_index(index)
    codes = getattr(storage(inner), "pq", None)
    rotations = [t for t in transforms(index) if isinstance(t, faiss.OPQMatrix)]
    bits = 8 if codes is None else codes.nbits
    quantizers = [faiss.ProductQuantizer(t.d_out, t.M, bits) for t in rotations]
    for rotation, quantizer in zip(rotations, quantizers, strict=True):
        rotation.pq = quantizer
    learners = [*quantizers, *([codes] if codes else [])]
    learners += [inner] if isinstance(inner, faiss.IndexIVF) else []
    for clustering in (learner.cp for learner in learners):
        clustering.seed = seed
        clustering.min_points_per_centroid = 1
        clustering.max_points_per_centroid = count
    yield
    for rotation in rotations:
        rotation.pq = None


def _rebuild_graph(index: faiss.Index) -> None:
    """Rebuilds the graph over the centres of the lists by one thread, because several race."""
    inner = inner_index(index)
    if not isinstance(inner, faiss.IndexIVF):
        return
    quantizer = faiss.downcast_index(inner.quantizer)
    if isinstance(quantizer, faiss.IndexHNSW):
        centres = quantizer.reconstruct_n(0, quantizer.ntotal)
        quantizer.reset()
        with using_threads(1):
            quantizer.add(centres)


@contextmanager
def using_threads(count: int) -> Iterator[None]:
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(count)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
