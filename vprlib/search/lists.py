"""Inverted lists in a file of their own: written from blocks, merged from parts, never in memory.

Faiss's own format: a list is its codes and then their numbers; the index names the file.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import faiss
import numpy as np

from vprlib.pipeline.artifacts import writing_at
from vprlib.pipeline.params import UserError

INDEX, LISTS = "index.faiss", "lists.bin"
NUMBER = 8  # bytes of the number of a row
PIECE = 2**24  # bytes that are copied at once


class Layout:
    """Where each list stands in the file, when so many codes belong to each."""

    def __init__(self, sizes: np.ndarray, code_size: int) -> None:
        self.sizes, self.code_size = sizes.astype(np.int64), code_size
        ends = np.cumsum(self.sizes * (code_size + NUMBER))
        self.codes = np.concatenate([[0], ends[:-1]])  # offset of each list
        self.numbers = self.codes + self.sizes * code_size
        self.bytes = int(ends[-1])


def goes_to_disk(index: faiss.Index) -> bool:
    """Whether its vectors can lie in a file of lists; others are held in memory."""
    kinds = (faiss.IndexIVFFlat, faiss.IndexIVFPQ, faiss.IndexIVFScalarQuantizer)
    inner = inner_index(index)
    return isinstance(inner, kinds) and not isinstance(inner, faiss.IndexIVFPQR)


def inner_index(index: faiss.Index) -> faiss.Index:
    """What comes behind rotations and reductions."""
    found = faiss.downcast_index(index)
    is_behind = isinstance(found, faiss.IndexPreTransform)
    return inner_index(found.index) if is_behind else found


def transforms(index: faiss.Index) -> list[faiss.VectorTransform]:
    """What is done to vectors before the inner index sees them."""
    found = faiss.downcast_index(index)
    if not isinstance(found, faiss.IndexPreTransform):
        return []
    chain = [faiss.downcast_VectorTransform(found.chain.at(p)) for p in range(found.chain.size())]
    return chain + transforms(found.index)


def transformed(index: faiss.Index, vectors: np.ndarray) -> np.ndarray:
    """float32 [n, d] as the inner index sees them."""
    for transform in transforms(index):
        vectors = transform.apply(vectors)
    return vectors


def list_numbers(index: faiss.Index, vectors: np.ndarray) -> np.ndarray:
    """The list of each vector [n]."""
    _, found = inner_index(index).quantizer.search(transformed(index, vectors), 1)
    return found[:, 0].astype(np.int64)


def write_lists(
    folder: Path,
    index: faiss.Index,
    lists: np.ndarray,
    blocks: Iterator[tuple[int, np.ndarray]],
    first: int,
) -> None:
    """Index and lists of vectors whose lists [N] are known; numbered from `first` on."""
    ivf = inner_index(index)
    layout = Layout(np.bincount(lists, minlength=ivf.nlist), ivf.code_size)
    filled = np.zeros(ivf.nlist, np.int64)
    with writing_at(folder / LISTS, layout.bytes) as write:
        for start, vectors in blocks:
            own = lists[start : start + len(vectors)]
            order = np.argsort(own, kind="stable")
            codes = _codes(index, vectors, own)[order]
            numbers = (first + start + order).astype(np.int64)
            runs = np.flatnonzero(np.diff(own[order], prepend=-1))
            for begin, end in zip(runs, [*runs[1:], len(order)], strict=True):
                at = own[order[begin]]
                write(layout.codes[at] + filled[at] * layout.code_size, codes[begin:end])
                write(layout.numbers[at] + filled[at] * NUMBER, numbers[begin:end])
                filled[at] += end - begin
    write_index(folder, index, layout)


def _codes(index: faiss.Index, vectors: np.ndarray, lists: np.ndarray) -> np.ndarray:
    """What is stored of each vector [n, code_size]."""
    ivf, inside = inner_index(index), np.ascontiguousarray(transformed(index, vectors))
    codes = np.empty((len(inside), ivf.code_size), np.uint8)
    ivf.encode_vectors(
        len(inside), faiss.swig_ptr(inside), faiss.swig_ptr(lists), faiss.swig_ptr(codes)
    )
    return codes


def write_index(folder: Path, index: faiss.Index, layout: Layout) -> None:
    """The trained index, which from now on has its vectors in the file of lists."""
    lists = faiss.OnDiskInvertedLists()
    lists.nlist, lists.code_size = len(layout.sizes), layout.code_size
    lists.filename, lists.totsize = LISTS, layout.bytes
    for size, offset in zip(layout.sizes.tolist(), layout.codes.tolist(), strict=True):
        one = faiss.OnDiskOneList()
        one.size = one.capacity = size
        one.offset = offset
        lists.lists.push_back(one)
    _give(index, lists)
    set_total(index, int(layout.sizes.sum()))
    faiss.write_index(index, str(folder / INDEX))


def _give(index: faiss.Index, lists: faiss.InvertedLists) -> None:
    """The index has these lists from now on, and frees them in the end."""
    lists.this.disown()
    inner_index(index).replace_invlists(lists, True)


def set_total(index: faiss.Index, count: int) -> None:
    found = faiss.downcast_index(index)
    found.ntotal = count
    if isinstance(found, faiss.IndexPreTransform):
        set_total(found.index, count)


def open_lists(folder: Path) -> faiss.Index:
    """The index; its lists, where it has any, stay in the file beside it, mapped."""
    index = faiss.read_index(str(folder / INDEX), faiss.IO_FLAG_SKIP_IVF_DATA)
    lists = lists_on_disk(index)
    if lists is not None and lists.totsize:
        lists.filename, lists.read_only = str(folder / LISTS), True
        lists.do_mmap()
    return index


def lists_on_disk(index: faiss.Index) -> faiss.OnDiskInvertedLists | None:
    inner = inner_index(index)
    lists = faiss.downcast_InvertedLists(inner.invlists) if goes_to_disk(index) else None
    return lists if isinstance(lists, faiss.OnDiskInvertedLists) else None


def open_trained(folder: Path, dim: int) -> faiss.Index:
    """The trained index alone, to be filled."""
    if not (folder / LISTS).exists():
        raise UserError(f"{folder} has no {LISTS}: make it by `python -m vprlib.cli.index_part`.")
    index = open_lists(folder)
    if index.d != dim:
        raise UserError(f"{folder} was trained on {index.d} dimensions, but these have {dim}.")
    set_total(index, 0)
    return index


def merge_lists(folder: Path, parts: Sequence[Path]) -> int:
    """One index of parts that were built from the same trained one; gives how many vectors."""
    opened = [open_lists(part) for part in parts]
    layouts = [_layout(index, part) for index, part in zip(opened, parts, strict=True)]
    trained = [_emptied(index) for index in opened]
    for part, one in zip(parts, trained, strict=True):
        if one != trained[0]:
            raise UserError(
                f"{part} and {parts[0]} were not built from the same trained index: build each part"
                " with the same --trained."
            )
    whole = Layout(sum(layout.sizes for layout in layouts), layouts[0].code_size)
    files = [(part / LISTS).open("rb") for part in parts]
    with writing_at(folder / LISTS, whole.bytes) as write:
        for at in range(len(whole.sizes)):
            for field, width in (("codes", whole.code_size), ("numbers", NUMBER)):
                place = int(getattr(whole, field)[at])
                for layout, file in zip(layouts, files, strict=True):
                    file.seek(int(getattr(layout, field)[at]))
                    left = int(layout.sizes[at]) * width
                    while left:
                        piece = file.read(min(left, PIECE))
                        write(place, piece)
                        place, left = place + len(piece), left - len(piece)
    for file in files:
        file.close()
    write_index(folder, opened[0], whole)
    return int(whole.sizes.sum())


def _emptied(index: faiss.Index) -> bytes:
    """What is left when its vectors are taken out: what it was trained to."""
    ivf = inner_index(index)
    _give(index, faiss.ArrayInvertedLists(ivf.nlist, ivf.code_size))
    set_total(index, 0)
    return faiss.serialize_index(index).tobytes()


def _layout(index: faiss.Index, part: Path) -> Layout:
    lists = lists_on_disk(index)
    if lists is None:
        raise UserError(f"{part} has no inverted lists on disk: only IVF indexes can be merged.")
    sizes = np.array([lists.list_size(at) for at in range(lists.nlist)])
    return Layout(sizes, lists.code_size)
