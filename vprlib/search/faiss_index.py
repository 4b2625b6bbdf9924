"""Builds a Faiss index from blocks of descriptors, and writes its folder."""

from collections.abc import Iterator
from pathlib import Path

import faiss
import numpy as np

from vprlib.descriptors.rows import Reader
from vprlib.pipeline.artifacts import writing_folder
from vprlib.pipeline.params import UserError
from vprlib.pipeline.progress import progress
from vprlib.search.faiss_factory import goes_to_disk, inner_index
from vprlib.search.faiss_training import IndexRequest, train, using_threads
from vprlib.search.lists import (
    INDEX,
    Facts,
    list_numbers,
    write_facts,
    write_lists,
)
from vprlib.search.request import BLOCK_BYTES, vector_bytes

TRIAL_ROWS = 1024  # vectors that are added to see how much memory each takes


def build(path: Path, request: IndexRequest) -> Facts:
    """Trains, adds all rows, and writes a folder; returns the facts of its index.json."""
    return add(path, train(request), request)


def add(path: Path, index: faiss.Index, request: IndexRequest) -> Facts:
    """Adds all rows to a trained index but the excluded ones.

    Inverted lists go to disk; what Faiss can only hold in memory must fit there.
    """
    faiss.omp_set_num_threads(request.threads)
    row_bytes = 4 * request.dim
    size = max(1024, min(BLOCK_BYTES, vector_bytes(request.memory_bytes) // 8) // row_bytes)
    # a graph depends on what is added together, and the memory must not change its bytes
    is_graph = isinstance(inner_index(index), faiss.IndexHNSW)
    reader = Reader(request.database, 1024 if is_graph else size, request.excluded)

    with writing_folder(path) as folder:
        if goes_to_disk(index):
            found = [list_numbers(index, v) for _, v in _blocks(reader, "assigning")]
            lists = np.concatenate([np.zeros(0, np.int64), *found])
            write_lists(folder, index, lists, _blocks(reader, "adding"))
        else:
            _check_memory(request, index, reader)
            # threads that add to a graph race, and give different bytes each time
            with using_threads(1 if is_graph else faiss.omp_get_max_threads()):
                for _, vectors in _blocks(reader, "adding"):
                    index.add(vectors)
            faiss.write_index(index, str(folder / INDEX))
        return write_facts(folder, request.settings.factory, reader.count, request.dim)


def _blocks(reader: Reader, label: str) -> Iterator[tuple[int, np.ndarray]]:
    """Vectors in blocks, and how many came before."""
    starts = reader.blocks()
    for start in progress(starts, len(starts), label, "block"):
        yield start, reader.block(start)


def _check_memory(request: IndexRequest, index: faiss.Index, reader: Reader) -> None:
    """By the memory that a few vectors take."""
    trial, count = faiss.clone_index(index), min(TRIAL_ROWS, reader.size, reader.count)
    before = len(faiss.serialize_index(trial))
    with using_threads(1):
        trial.add(reader.block(0)[:count])
    size = (len(faiss.serialize_index(trial)) - before) / max(1, count) * reader.count
    if size > vector_bytes(request.memory_bytes) // 2:
        raise UserError(
            f"{request.place}.index: {request.settings.factory} is held in memory, and"
            f" {reader.count} descriptors take {size / 2**30:.1f} GiB in it, more than half of"
            f" runtime.memory_gib ({request.memory_bytes / 2**30:.1f}): raise it, or take an IVF…"
            " with Flat, PQ or SQ, whose lists stay on disk."
        )
