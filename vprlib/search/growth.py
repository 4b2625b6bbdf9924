"""A trained index goes on taking rows that came later, until too many lie far from its centres."""

from dataclasses import dataclass
from pathlib import Path

import faiss
import numpy as np

from vprlib.descriptors.rows import Reader, gather
from vprlib.pipeline.artifacts import write_bytes, write_json
from vprlib.pipeline.cache import About, Cache, digest
from vprlib.pipeline.draws import choose_rows
from vprlib.pipeline.json_files import read_json
from vprlib.pipeline.params import UserError
from vprlib.pipeline.stored import digest as digest_of
from vprlib.search.faiss_factory import inner_index
from vprlib.search.faiss_training import IndexRequest, train
from vprlib.search.lists import transformed

NEAR = 0.99  # of the rows lay within `Fit.far` when the index was trained
LOOKED_AT = 10_000  # random rows
MOST = 2  # times as many rows as then: the lists become too long
INDEX, FIT = "trained.faiss", "fit.json"


@dataclass(frozen=True)
class Fit:
    """How the rows lay when the index was trained."""

    rows: int
    far: float  # squared distance to the centre of a list
    digest: str  # of the index


def trained_for(request: IndexRequest, cache: Cache, space: str) -> tuple[faiss.Index, str]:
    """An index without vectors, and what to say of it; `space` tells what the descriptors are.

    Where the settings allow no drift, it is trained anew each time and depends on nothing before.
    """
    allowed = request.settings.drift
    if allowed is None:
        return train(request), ""
    faiss.omp_set_num_threads(request.threads)
    form = request.settings.model_dump(exclude={"drift"})
    key = f"trained-{digest(request.code, space, form)}"
    reader = Reader(request.database, 1, request.excluded)
    said = ""
    with cache.reading(key) as entry:
        if entry and (found := _read(entry)) is not None:
            index, fit = found
            drift = float((_to_centres(index, request, reader) > fit.far).mean())
            said = f"{reader.count} descriptors for {fit.rows} then, {drift:.1%} of them far from"
            said += f" every centre (allowed {allowed:.0%})"
            if drift <= allowed and reader.count <= MOST * fit.rows:
                return index, f"not trained anew: {said}"
            said = f"trained anew: {said}"
    index = train(request)
    far = np.quantile(_to_centres(index, request, reader), NEAR, method="higher")
    _keep(cache, key, index, reader.count, float(far))
    return index, said


def _read(entry: Path) -> tuple[faiss.Index, Fit] | None:
    """None where its files do not fit each other: Faiss trusts what it reads."""
    try:
        fit = read_json(entry / FIT, Fit)
        if digest_of(entry / INDEX) != fit.digest:
            return None
        return faiss.read_index(str(entry / INDEX)), fit
    except (UserError, OSError):
        return None


def _to_centres(index: faiss.Index, request: IndexRequest, reader: Reader) -> np.ndarray:
    """Squared distances of random rows to the centres of their lists [n]."""
    chosen = choose_rows(reader.count, LOOKED_AT, request.settings.seed)
    vectors = gather(request.database, reader.numbers(0, chosen))
    return inner_index(index).quantizer.search(transformed(index, vectors), 1)[0][:, 0]


def _keep(cache: Cache, key: str, index: faiss.Index, rows: int, far: float) -> None:
    content = faiss.serialize_index(index).tobytes()

    def fill(folder: Path) -> None:
        write_bytes(folder / INDEX, content)
        write_json(folder / FIT, vars(Fit(rows, far, digest_of(folder / INDEX))))

    cache.keep(key, About("a trained search index", rows, len(content)), fill)
