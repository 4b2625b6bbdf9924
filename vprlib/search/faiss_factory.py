"""What a Faiss factory string says, and whether its index can be built and searched."""

from collections.abc import Mapping

import faiss
import numpy as np

from vprlib.descriptors.codes import CodeSettings
from vprlib.descriptors.settings import IndexSettings, SearchSettings
from vprlib.pipeline.params import PARAMS_PATH, UserError

# kinds of IVF whose vectors can lie in a file of inverted lists; the others are held in memory
ON_DISK = (faiss.IndexIVFFlat, faiss.IndexIVFPQ, faiss.IndexIVFScalarQuantizer)
KINDS = (
    faiss.IndexFlat,
    faiss.IndexPQ,
    faiss.IndexPQFastScan,
    faiss.IndexScalarQuantizer,
    *ON_DISK,
    faiss.IndexIVFPQFastScan,
    faiss.IndexHNSWFlat,
    faiss.IndexHNSWPQ,
    faiss.IndexHNSWSQ,
)
# stands for the dimensions where they are not known yet: a multiple of 2⁸, 9, 5 and 7
MANY_DIMENSIONS = 80_640


def check_indexes(codes: Mapping[str, CodeSettings]) -> None:
    """Raises an error if Faiss cannot build or search the index of one of these codes."""
    for name, code in codes.items():
        if code.index is not None and code.search is not None:
            place = f"{PARAMS_PATH}: code_defs.{name}"
            check_index(place, code.index, code.search, code.keep.whiten)


def check_index(
    place: str, settings: IndexSettings, search: SearchSettings, dim: int | None
) -> None:
    """What can be checked without the descriptors."""
    index = new_index(place, settings, dim or MANY_DIMENSIONS)
    if settings.drift is not None and not goes_to_disk(index):
        raise UserError(
            f"{place}.index.drift is {settings.drift:g}, but {settings.factory} has no centres to"
            " drift from: take an IVF… with Flat, PQ or SQ, or set drift to null."
        )
    check_training(place, index, settings, settings.train)
    try:
        set_parameters(index, search)
    except RuntimeError:
        raise UserError(
            f"{place}.search.parameters is '{search.parameters}', which {settings.factory} does"
            " not have: IVF has nprobe, HNSW efSearch, and IVF with an HNSW inside also"
            " quantizer_efSearch."
        ) from None


def check_training(place: str, index: faiss.Index, settings: IndexSettings, count: int) -> None:
    """An index needs at least as many descriptors to train on as it has lists or words."""
    inner = inner_index(index)
    needs = [(1, "nothing to learn")]
    if isinstance(inner, faiss.IndexIVF):
        needs.append((inner.nlist, f"{inner.nlist} lists"))
    if hasattr(storage(inner), "pq"):
        words = storage(inner).pq.ksub
        needs.append((words, f"{words} words per part"))
    least, why = max(needs)
    if count < least:
        raise UserError(
            f"{place}.index: {settings.factory} has {why} and needs as many descriptors to train"
            f" on, but there are {count}: take smaller numbers in the factory"
            f"{', or raise train' if count == settings.train else ''}."
        )


def new_index(place: str, settings: IndexSettings, dim: int) -> faiss.Index:
    try:
        index = faiss.index_factory(dim, settings.factory)
    except RuntimeError as error:
        reason = str(error).rpartition("Error: ")[2].strip().rstrip(".")
        if any(words in reason for words in ("d % M", "d2 % M", "multiple")):
            reason = f"the number after PQ must divide the dimensions, here {dim}"
        raise UserError(
            f"{place}.index.factory is '{settings.factory}', and Faiss cannot make an index of it"
            f" for {dim} dimensions: {reason}."
        ) from None
    inner = inner_index(index)
    if not isinstance(inner, KINDS) or isinstance(inner, faiss.IndexIVFPQR):
        raise UserError(
            f"{place}.index.factory is '{settings.factory}', a {type(inner).__name__}: use Flat,"
            " PQ…, SQ…, IVF…, or HNSW…, with or without OPQ… or PCA… before it (search.refine"
            " replaces RFlat)."
        )
    return index


def inner_index(index: faiss.Index) -> faiss.Index:
    """The index behind rotations and reductions."""
    found = faiss.downcast_index(index)
    is_behind = isinstance(found, faiss.IndexPreTransform)
    return faiss.downcast_index(found.index) if is_behind else found


def transforms(index: faiss.Index) -> list[faiss.VectorTransform]:
    """Rotations and reductions before the inner index."""
    found = faiss.downcast_index(index)
    if not isinstance(found, faiss.IndexPreTransform):
        return []
    return [faiss.downcast_VectorTransform(found.chain.at(i)) for i in range(found.chain.size())]


def storage(inner: faiss.Index) -> faiss.Index:
    """What holds the vectors; a graph has an index of its own for them."""
    return faiss.downcast_index(inner.storage) if isinstance(inner, faiss.IndexHNSW) else inner


def goes_to_disk(index: faiss.Index) -> bool:
    return isinstance(inner_index(index), ON_DISK)


def set_parameters(index: faiss.Index, search: SearchSettings) -> None:
    if search.parameters:
        faiss.ParameterSpace().set_index_parameters(index, search.parameters)


def takes_selector(index: faiss.Index) -> bool:
    """Whether a search can be restricted to some rows: not with PQ, unless IVF or HNSW has it."""
    return not isinstance(inner_index(index), faiss.IndexPQ | faiss.IndexPQFastScan)


def selecting(index: faiss.Index, is_allowed: np.ndarray) -> faiss.SearchParameters:
    """The parameters that `index` has, and the rows [N] that it may find."""
    selector = faiss.IDSelectorBitmap(np.packbits(is_allowed, bitorder="little"))
    inner = inner_index(index)
    if isinstance(inner, faiss.IndexIVF):
        kind = faiss.SearchParametersIVF
        names = ["nprobe", "max_codes"]
        if isinstance(inner, faiss.IndexIVFPQ):
            kind = faiss.IVFPQSearchParameters
            names += ["scan_table_threshold", "polysemous_ht"]
        found = kind(sel=selector, **{name: getattr(inner, name) for name in names})
    elif isinstance(inner, faiss.IndexHNSW):
        found = faiss.SearchParametersHNSW(sel=selector, efSearch=inner.hnsw.efSearch)
    else:
        found = faiss.SearchParameters(sel=selector)
    if isinstance(faiss.downcast_index(index), faiss.IndexPreTransform):
        return faiss.SearchParametersPreTransform(index_params=found)
    return found
