"""Approximate nearest neighbours by a Faiss index: checked, trained, built in blocks, and asked."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import faiss
import numpy as np

from vprlib.descriptors.codes import CodeSettings
from vprlib.descriptors.rows import Reader, Rows, gather, squared_between
from vprlib.descriptors.settings import IndexSettings, SearchSettings
from vprlib.pipeline.artifacts import write_json, writing_folder
from vprlib.pipeline.draws import choose_rows
from vprlib.pipeline.params import PARAMS_PATH, UserError
from vprlib.pipeline.paths import existing
from vprlib.pipeline.progress import progress
from vprlib.search.exact import (
    BLOCK,
    BYTES_A_NEIGHBOR,
    Neighbors,
    SearchParts,
    at_once,
    nearest_first,
    room,
)
from vprlib.search.hamming import search_parts
from vprlib.search.lists import (
    INDEX,
    goes_to_disk,
    inner_index,
    list_numbers,
    merge_lists,
    open_lists,
    transforms,
    write_lists,
)

FACTS = "index.json"
KINDS = (
    faiss.IndexFlat,
    faiss.IndexPQ,
    faiss.IndexPQFastScan,
    faiss.IndexScalarQuantizer,
    faiss.IndexIVFFlat,
    faiss.IndexIVFPQ,
    faiss.IndexIVFPQFastScan,
    faiss.IndexIVFScalarQuantizer,
    faiss.IndexHNSWFlat,
    faiss.IndexHNSWPQ,
    faiss.IndexHNSWSQ,
)
SAMPLED = 1024  # vectors that are added to see how much memory one takes
# a multiple of 2⁸, 9, 5 and 7: what a string is tried on where the dimensions are not known yet
MANY_DIMENSIONS = 80_640


def check_indexes(codes: Mapping[str, CodeSettings]) -> None:
    """A sentence where Faiss cannot build or ask the index of one of these codes."""
    for name, code in codes.items():
        if code.index is not None:
            place = f"{PARAMS_PATH}: code_defs.{name}"
            check_index(place, code.index, code.search, code.keep.whiten)


def check_index(
    place: str, settings: IndexSettings, search: SearchSettings, dim: int | None
) -> None:
    """As far as can be told without the descriptors."""
    index = new_index(place, settings, dim or MANY_DIMENSIONS)
    check_training(place, index, settings, settings.train)
    try:
        set_parameters(index, search)
    except RuntimeError:
        raise UserError(
            f"{place}.search.parameters is '{search.parameters}', which {settings.factory} has no"
            " use for: IVF takes nprobe, HNSW efSearch, IVF with an HNSW inside also"
            " quantizer_efSearch."
        ) from None


def check_training(place: str, index: faiss.Index, settings: IndexSettings, count: int) -> None:
    """As many descriptors as the index has lists, or words."""
    least, why = least_descriptors(index)
    if count < least:
        raise UserError(
            f"{place}.index: {settings.factory} has {why}, and needs as many descriptors to train"
            f" on, but there are {count}: take smaller numbers in the factory"
            f"{', or raise train' if count == settings.train else ''}."
        )


def new_index(place: str, settings: IndexSettings, dim: int) -> faiss.Index:
    try:
        index = faiss.index_factory(dim, settings.factory)
    except RuntimeError as error:
        reason = str(error).rpartition("Error: ")[2].strip().rstrip(".")
        raise UserError(
            f"{place}.index.factory is '{settings.factory}', of which Faiss makes no index for"
            f" {dim} dimensions: {_in_words(reason, dim)}."
        ) from None
    if not isinstance(inner_index(index), KINDS) or isinstance(
        inner_index(index), faiss.IndexIVFPQR
    ):
        raise UserError(
            f"{place}.index.factory is '{settings.factory}', a {type(inner_index(index)).__name__}:"
            " take Flat, PQ…, SQ…, IVF…, or HNSW…, with OPQ… or PCA… before it where wanted"
            " (search.refine measures again, in place of RFlat)."
        )
    return index


def _in_words(reason: str, dim: int) -> str:
    if "d % M" in reason or "multiple" in reason or "d2 % M" in reason:
        return f"the number after PQ must divide the dimensions, here {dim}"
    return reason


def least_descriptors(index: faiss.Index) -> tuple[int, str]:
    """How many the index needs to learn from, and what of."""
    inner = inner_index(index)
    found = [(1, "nothing to learn")]
    if isinstance(inner, faiss.IndexIVF):
        found.append((inner.nlist, f"{inner.nlist} lists"))
    if hasattr(_storage(inner), "pq"):
        words = _storage(inner).pq.ksub
        found.append((words, f"{words} words a part"))
    return max(found)


def _storage(inner: faiss.Index) -> faiss.Index:
    """What holds the vectors; a graph has them in an index of its own."""
    return faiss.downcast_index(inner.storage) if isinstance(inner, faiss.IndexHNSW) else inner


def set_parameters(index: faiss.Index, search: SearchSettings) -> None:
    if search.parameters:
        faiss.ParameterSpace().set_index_parameters(index, search.parameters)


def train(
    place: str,
    database: Rows,
    settings: IndexSettings,
    memory_bytes: int,
    threads: int,
    excluded: np.ndarray | None = None,
) -> faiss.Index:
    """The index without vectors, trained on random rows of the database."""
    faiss.omp_set_num_threads(threads)
    index = new_index(place, settings, database.shape[1])
    if not index.is_trained:
        sample = _sample(place, database, settings, memory_bytes, excluded, index)
        with _learning(index, len(sample), settings.seed):
            index.train(sample)
    inner = inner_index(index)
    if isinstance(inner, faiss.IndexIVF):
        _build_graph_again(inner)
    return index


def _sample(
    place: str,
    database: Rows,
    settings: IndexSettings,
    memory_bytes: int,
    excluded: np.ndarray | None,
    index: faiss.Index,
) -> np.ndarray:
    reader = Reader(database, 1, excluded)
    chosen = choose_rows(reader.count, settings.train, settings.seed)
    check_training(place, index, settings, len(chosen))
    size = 4 * len(chosen) * database.shape[1]
    if size > room(memory_bytes) // 2:
        raise UserError(
            f"{place}.index.train: {len(chosen)} descriptors of {database.shape[1]} dimensions are"
            f" {size / 2**30:.1f} GiB, more than half of runtime.memory_gib"
            f" ({memory_bytes / 2**30:.1f}): train on fewer, whiten to fewer dimensions, or raise"
            " the memory."
        )
    return gather(database, reader.numbers(0, chosen))


@contextmanager
def _learning(index: faiss.Index, count: int, seed: int) -> Iterator[None]:
    """Faiss would keep 256 points a centroid without a word, and draw by a seed of its own.

    OPQ learns by a quantizer of its own: it is given one with as many words as the codes have.
    """
    inner = inner_index(index)
    codes = getattr(_storage(inner), "pq", None)
    rotations = [t for t in transforms(index) if isinstance(t, faiss.OPQMatrix)]
    bits = 8 if codes is None else codes.nbits
    lent = [faiss.ProductQuantizer(t.d_out, t.M, bits) for t in rotations]
    for rotation, quantizer in zip(rotations, lent, strict=True):
        rotation.pq = quantizer
    learners = [*lent, *([codes] if codes else [])]
    learners += [inner] if isinstance(inner, faiss.IndexIVF) else []
    for clustering in (learner.cp for learner in learners):
        clustering.seed = seed
        clustering.min_points_per_centroid = 1
        clustering.max_points_per_centroid = count
    yield
    for rotation in rotations:
        rotation.pq = None


def _build_graph_again(inner: faiss.IndexIVF) -> None:
    """A graph over the lists' centres by one thread: several race, and leave other bytes."""
    quantizer = faiss.downcast_index(inner.quantizer)
    if isinstance(quantizer, faiss.IndexHNSW):
        centres = quantizer.reconstruct_n(0, quantizer.ntotal)
        quantizer.reset()
        with _threads(1):
            quantizer.add(centres)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(count)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def build(
    path: Path,
    name: str,
    database: Rows,
    settings: IndexSettings,
    memory_bytes: int,
    threads: int,
    excluded: np.ndarray | None = None,
) -> dict[str, object]:
    """Trains, adds every row that is not `excluded`, and writes a folder; gives its facts."""
    place = f"{PARAMS_PATH}: code_defs.{name}"
    index = train(place, database, settings, memory_bytes, threads, excluded)
    return add(path, place, index, database, settings, memory_bytes, threads, excluded)


def add(
    path: Path,
    place: str,
    index: faiss.Index,
    database: Rows,
    settings: IndexSettings,
    memory_bytes: int,
    threads: int,
    excluded: np.ndarray | None = None,
    part: tuple[int, int] = (1, 1),
) -> dict[str, object]:
    """Adds to a trained index one part of so many of the rows, counted without the excluded ones.

    Lists go to the disk; what Faiss can only hold in memory must fit there.
    """
    faiss.omp_set_num_threads(threads)
    size = max(1024, min(BLOCK, room(memory_bytes) // 8) // (4 * database.shape[1]))
    # a graph depends on what is added together, and memory must change no byte
    size = 1024 if isinstance(inner_index(index), faiss.IndexHNSW) else size
    reader = Reader(database, size, excluded)
    number, of = part
    first, last = (reader.count * max(0, n) // of for n in (number - 1, number))
    starts = range(first, last, size)

    def blocks(label: str) -> Iterator[tuple[int, np.ndarray]]:
        for start in progress(starts, len(starts), label, "block"):
            yield start, reader.block(start, last)

    with writing_folder(path) as folder:
        if goes_to_disk(index):
            found = [list_numbers(index, v) for _, v in blocks("assigning")]
            lists = np.concatenate([np.zeros(0, np.int64), *found])
            numbered = ((start - first, vectors) for start, vectors in blocks("adding"))
            write_lists(folder, index, lists, numbered, first)
        else:
            if part != (1, 1):
                raise UserError(f"{place}.index: only IVF… on disk can be built in parts.")
            _add_in_memory(place, index, reader, blocks, memory_bytes, settings)
            faiss.write_index(index, str(folder / INDEX))
        return _write_facts(folder, settings.factory, last - first, database.shape[1])


def _write_facts(folder: Path, factory: str, count: int, dim: int) -> dict[str, object]:
    size = sum(file.stat().st_size for file in folder.iterdir())
    facts = {"factory": factory, "descriptors": count, "dimensions": dim, "bytes": size}
    write_json(folder / FACTS, facts)
    return facts


def merge(path: Path, parts: Sequence[Path]) -> dict[str, object]:
    """One folder of parts that hold rows in this order; equal to one built whole."""
    said = [json.loads(existing(part / FACTS).read_text(encoding="utf-8")) for part in parts]
    with writing_folder(path) as folder:
        count = merge_lists(folder, parts)
        return _write_facts(folder, said[0]["factory"], count, said[0]["dimensions"])


def _add_in_memory(
    place: str,
    index: faiss.Index,
    reader: Reader,
    blocks: Callable[[str], Iterator[tuple[int, np.ndarray]]],
    memory_bytes: int,
    settings: IndexSettings,
) -> None:
    bytes_each = _bytes_each(index, reader)
    if bytes_each * reader.count > room(memory_bytes) // 2:
        raise UserError(
            f"{place}.index: {settings.factory} is held in memory, and {reader.count} descriptors"
            f" take {bytes_each * reader.count / 2**30:.1f} GiB in it, more than half of"
            f" runtime.memory_gib ({memory_bytes / 2**30:.1f}): raise it, or take an IVF… with"
            " Flat, PQ or SQ, whose lists stay on disk."
        )
    # threads that add to a graph race, and leave other bytes each time
    is_graph = isinstance(inner_index(index), faiss.IndexHNSW)
    with _threads(1 if is_graph else faiss.omp_get_max_threads()):
        for _, vectors in blocks("adding"):
            index.add(vectors)


def _bytes_each(index: faiss.Index, reader: Reader) -> float:
    trial = faiss.clone_index(index)
    count = min(SAMPLED, reader.size, reader.count)
    before = len(faiss.serialize_index(trial))
    with _threads(1):
        trial.add(reader.block(0)[:count])
    return (len(faiss.serialize_index(trial)) - before) / max(1, count)


@dataclass(frozen=True)
class Approximate:
    """Searches through an index on disk; called as `search.search_parts` is."""

    path: Path
    settings: SearchSettings

    def __call__(
        self,
        queries: Rows,
        database: Rows,
        count: int,
        memory_bytes: int,
        threads: int,
        excluded: np.ndarray | None = None,
    ) -> Iterator[tuple[slice, Neighbors]]:
        faiss.omp_set_num_threads(threads)
        index = self._checked(database, memory_bytes, excluded)
        left = room(memory_bytes)
        asked, dim = queries.shape
        stored = Reader(database, 1, excluded)
        count = min(count, stored.count)
        wide = min(stored.count, count * max(1, self.settings.refine))
        # a quarter for the queries and their neighbours, one for the vectors that are measured
        few = at_once(asked, 4 * dim + BYTES_A_NEIGHBOR * wide, left // 3)
        reader = Reader(queries, few)
        for start in progress(reader.blocks(), len(reader.blocks()), "searching", "block"):
            vectors = reader.block(start)
            squared, places = index.search(vectors, wide)
            rows, squared = stored.numbers(0, places), np.maximum(squared, 0)
            missing = places < 0
            rows[missing], squared[missing] = -1, np.inf
            if self.settings.refine:
                squared = measured(vectors, rows, database, left // 4)
            rows, squared = nearest_first(rows, squared, count)
            yield slice(start, start + len(vectors)), Neighbors(rows, np.sqrt(squared))

    @cached_property
    def _index(self) -> faiss.Index:
        """Opened at the first search, and then kept."""
        index = open_lists(self.path)
        set_parameters(index, self.settings)
        return index

    @cached_property
    def _size(self) -> int:
        return existing(self.path / INDEX).stat().st_size

    def _checked(
        self, database: Rows, memory_bytes: int, excluded: np.ndarray | None
    ) -> faiss.Index:
        size = self._size
        if size > room(memory_bytes) // 2:
            raise UserError(
                f"{self.path / INDEX} takes {size / 2**30:.1f} GiB of memory to search, more than"
                f" half of runtime.memory_gib ({memory_bytes / 2**30:.1f}): raise it, or take an"
                " IVF… with Flat, PQ or SQ, whose lists stay on disk."
            )
        index = self._index
        kept = database.shape[0] - (0 if excluded is None else len(np.unique(excluded)))
        if (index.ntotal, index.d) != (kept, database.shape[1]):
            raise UserError(
                f"{self.path} has {index.ntotal} descriptors of {index.d} dimensions, but"
                f" {kept} of {database.shape[1]} are to be searched: run `dvc repro encode`."
            )
        return index


def searcher(path: Path, settings: SearchSettings | None) -> SearchParts:
    """How a code is searched: exactly where it has no index."""
    return search_parts if settings is None else Approximate(path, settings)


def measured(
    queries: np.ndarray, rows: np.ndarray, database: Rows, memory_bytes: int
) -> np.ndarray:
    """Squared distances from differences to the stored descriptors of these rows [q, k]."""
    squared = np.full(rows.shape, np.inf, np.float32)
    few = max(1, memory_bytes // (4 * database.shape[1] * max(1, rows.shape[1])))
    for start in range(0, len(queries), few):
        part = rows[start : start + few]
        asked, columns = np.nonzero(part >= 0)
        numbers, places = np.unique(part[asked, columns], return_inverse=True)
        vectors = gather(database, numbers)
        squared[start + asked, columns] = squared_between(queries, start + asked, vectors, places)
    return squared
