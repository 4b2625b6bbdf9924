"""Inverted lists in a file beside the index: written from blocks, mapped.

The file has Faiss's own format: each list is its codes, then the rows they belong to.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import faiss
import numpy as np

from vprlib.pipeline.artifacts import write_json, writing_at
from vprlib.pipeline.json_files import damaged, read_json
from vprlib.pipeline.paths import existing
from vprlib.pipeline.stored import digest
from vprlib.search.faiss_factory import goes_to_disk, inner_index, transforms

INDEX, LISTS, FACTS = "index.faiss", "lists.bin", "index.json"
ROW_BYTES = 8  # of a row's number


@dataclass(frozen=True)
class Facts:
    """What the file beside an index says of it."""

    factory: str
    descriptors: int
    dimensions: int
    bytes: int  # of both files
    digest: str  # of the index


def write_facts(folder: Path, factory: str, count: int, dim: int) -> Facts:
    facts = Facts(factory, count, dim, _size(folder), digest(folder / INDEX))
    write_json(folder / FACTS, vars(facts))
    return facts


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in (folder / INDEX, folder / LISTS) if path.exists())


class Layout:
    """Where each list lies in the file, given the number of codes in each."""

    def __init__(self, sizes: np.ndarray, code_size: int) -> None:
        self.sizes, self.code_size = sizes.astype(np.int64), code_size
        ends = np.cumsum(self.sizes * (code_size + ROW_BYTES))
        self.codes = np.concatenate([[0], ends[:-1]])  # offset of each list
        self.rows = self.codes + self.sizes * code_size
        self.bytes = int(ends[-1])


def transformed(index: faiss.Index, vectors: np.ndarray) -> np.ndarray:
    """The vectors that the inner index gets, float32 [n, d]."""
    for transform in transforms(index):
        vectors = transform.apply(vectors)
    return vectors


def list_numbers(index: faiss.Index, vectors: np.ndarray) -> np.ndarray:
    """The list of each vector [n]."""
    quantizer = inner_index(index).quantizer
    return quantizer.assign(transformed(index, vectors), 1)[:, 0].astype(np.int64)


def write_lists(
    folder: Path,
    index: faiss.Index,
    lists: np.ndarray,
    blocks: Iterator[tuple[int, np.ndarray]],
) -> None:
    """Writes the index and its lists; `lists` [N] holds the list of each row."""
    ivf = inner_index(index)
    layout = Layout(np.bincount(lists, minlength=ivf.nlist), ivf.code_size)
    filled = np.zeros(ivf.nlist, np.int64)
    with writing_at(folder / LISTS, layout.bytes) as write:
        for start, vectors in blocks:
            own = lists[start : start + len(vectors)]
            order = np.argsort(own, kind="stable")
            codes = _codes(index, vectors, own)[order]
            rows = (start + order).astype(np.int64)
            runs = np.flatnonzero(np.diff(own[order], prepend=-1))
            for begin, end in zip(runs, [*runs[1:], len(order)], strict=True):
                at = own[order[begin]]
                write(layout.codes[at] + filled[at] * layout.code_size, codes[begin:end])
                write(layout.rows[at] + filled[at] * ROW_BYTES, rows[begin:end])
                filled[at] += end - begin
    _write_index(folder, index, layout)


def _codes(index: faiss.Index, vectors: np.ndarray, lists: np.ndarray) -> np.ndarray:
    """What is stored of each vector [n, code_size]."""
    ivf, inside = inner_index(index), np.ascontiguousarray(transformed(index, vectors))
    codes = np.empty((len(inside), ivf.code_size), np.uint8)
    ivf.encode_vectors(len(inside), *map(faiss.swig_ptr, (inside, lists, codes)))
    return codes


def _write_index(folder: Path, index: faiss.Index, layout: Layout) -> None:
    """The trained index; its vectors are in the file of lists from now on."""
    lists = faiss.OnDiskInvertedLists()
    lists.nlist, lists.code_size = len(layout.sizes), layout.code_size
    lists.filename, lists.totsize = LISTS, layout.bytes
    for size, offset in zip(layout.sizes.tolist(), layout.codes.tolist(), strict=True):
        one = faiss.OnDiskOneList()
        one.size = one.capacity = size
        one.offset = offset
        lists.lists.push_back(one)
    _set_lists(index, lists, int(layout.sizes.sum()))
    faiss.write_index(index, str(folder / INDEX))


def _set_lists(index: faiss.Index, lists: faiss.InvertedLists, count: int) -> None:
    """Gives the index these lists of `count` vectors, which it owns from now on."""
    lists.this.disown()
    inner_index(index).replace_invlists(lists, True)
    index.ntotal = inner_index(index).ntotal = count


def open_lists(folder: Path) -> faiss.Index:
    """The index; lists on disk are mapped, not read.

    Faiss trusts what it reads, so the files are held against what was noted when they were written.
    """
    facts = read_json(existing(folder / FACTS), Facts)
    if digest(existing(folder / INDEX)) != facts.digest or _size(folder) != facts.bytes:
        raise damaged(folder, f"its files are not those of {FACTS}")
    index = faiss.read_index(str(folder / INDEX), faiss.IO_FLAG_SKIP_IVF_DATA)
    lists = _lists_on_disk(index)
    if lists is not None and lists.totsize:
        lists.filename, lists.read_only = str(folder / LISTS), True
        lists.do_mmap()
    return index


def _lists_on_disk(index: faiss.Index) -> faiss.OnDiskInvertedLists | None:
    inner = inner_index(index)
    lists = faiss.downcast_InvertedLists(inner.invlists) if goes_to_disk(index) else None
    return lists if isinstance(lists, faiss.OnDiskInvertedLists) else None
