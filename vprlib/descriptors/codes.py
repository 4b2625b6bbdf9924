"""What is kept of a descriptor: how many whitened dimensions, and how many bits of each."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Self

import numpy as np
from pydantic import Field, model_validator
from threadpoolctl import threadpool_limits

from vprlib.descriptors import quantisers
from vprlib.descriptors.files import (
    create_code,
    failed_rows,
    opened_sample,
    read_learnt,
    read_precision,
)
from vprlib.descriptors.matrix import (
    Arrays,
    Matrix,
    MatrixSettings,
    from_arrays,
    of_lower_rank,
    to_arrays,
)
from vprlib.descriptors.quantisers import WORDS, Precision, Quantiser
from vprlib.descriptors.settings import IndexSettings, SearchSettings
from vprlib.descriptors.whitening import Rows, blocks, to_unit_length
from vprlib.pipeline.artifacts import write_hdf5, writing_hdf5
from vprlib.pipeline.params import PARAMS_PATH, Section, UserError
from vprlib.pipeline.paths import Side
from vprlib.pipeline.runtime import RuntimeSettings
from vprlib.pipeline.stored import Stored, reading

# arrays of a code's whitening: kinds and sizes
_FORMS = {
    **{"mean": ("f", "D"), "projection": ("fi", "P W"), "projection_scales": ("f", "P")},
    **{"channels": ("fi", "R C"), "channels_scales": ("f", "R")},
}


class Kept(Section):
    """The `keep` of a code: what is stored of a descriptor. The default keeps it as it is."""

    # the first so many whitened dimensions; null: the descriptor as it is
    whiten: int | None = Field(None, ge=1, le=2**20)
    precision: Precision = "float32"  # of database images
    bytes: int | None = Field(None, ge=1, le=2**20)  # of a database image, for pq
    # coded: a query is rounded like a database image; binary then counts bits that differ
    query: Literal["float32", "coded"] = "float32"
    matrix: MatrixSettings | None = None  # how the whitening matrix is stored; null: as float32

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.precision in ("pq", "binary") and self.whiten is None:
            raise ValueError(
                f"precision {self.precision} needs dimensions of equal weight: set whiten"
            )
        if (self.precision == "pq") != (self.bytes is not None):
            raise ValueError("bytes belong to precision pq, and to it alone")
        parts = 8 if self.precision == "binary" else self.bytes or 1
        if (self.whiten or 0) % parts:
            raise ValueError(f"whiten must be a multiple of {parts}; it is {self.whiten}")
        if self.query == "coded" and self.precision == "float32":
            raise ValueError("query is coded, but precision float32 codes nothing")
        if self.matrix is not None and self.whiten is None:
            raise ValueError("matrix says how whitening is stored, but whiten is null")
        return self

    def sentence(self) -> str:
        dims = "all dimensions" if self.whiten is None else f"{self.whiten} whitened dimensions"
        size = "" if self.bytes is None else f" in {self.bytes} bytes"
        return f"{dims}, {self.precision}{size}"


class CodeSettings(Section):
    """An entry of `code_defs`."""

    keep: Kept = Kept()
    index: IndexSettings | None = None  # null: exact search
    search: SearchSettings | None = None  # of the index

    @model_validator(mode="after")
    def _index_is_asked(self) -> Self:
        if (self.index is None) != (self.search is None):
            there, lacking = ("search", "index") if self.index is None else ("index", "search")
            raise ValueError(f"it has `{there}`, which has no use while `{lacking}` is null")
        return self


@dataclass(frozen=True)
class Code:
    """Makes of a descriptor what is kept of it."""

    precision: Precision = "float32"
    mean: np.ndarray | None = None  # [D] float32, where it whitens
    matrix: Matrix | None = None
    learnt: Mapping[str, np.ndarray] = field(default_factory=dict)  # by the quantiser
    codes_queries: bool = False

    def apply(self, vectors: np.ndarray) -> np.ndarray:
        """Unit vectors [n, d] of descriptors [n, D], not rounded yet."""
        if self.matrix is None or self.mean is None:
            return vectors
        return to_unit_length(self.matrix.apply(np.asarray(vectors, np.float32) - self.mean))

    def dim(self, full: int) -> int:
        """The dimensions that are left of so many."""
        return full if self.matrix is None else len(self.matrix.projection)

    def quantiser(self, side: Side, full: int) -> Quantiser:
        """What rounds that side; queries stay as they are, unless the code says otherwise."""
        is_coded = side == "db" or self.codes_queries
        if not is_coded:
            return Quantiser("float32", self.dim(full))
        return Quantiser(self.precision, self.dim(full), self.learnt)


def check_codes(
    codes: Sequence[str], defs: Mapping[str, CodeSettings], dimensions: int, descriptors: int
) -> None:
    """Refuses codes with more dimensions than whitening keeps or the descriptors can give."""
    limits = {
        dimensions: f"whitening.dimensions keeps {dimensions}",
        descriptors - 1: f"the {descriptors} of whitening.descriptors give {descriptors - 1}",
    }
    for name in codes:
        wanted = defs[name].keep.whiten or 0
        if wanted > min(limits):
            raise UserError(
                f"{PARAMS_PATH}: code_defs.{name}.keep.whiten is {wanted}, but"
                f" {limits[min(limits)]} at most: lower the first, or raise the second."
            )
        if defs[name].keep.precision == "pq" and descriptors < WORDS:
            raise UserError(
                f"{PARAMS_PATH}: code_defs.{name} is pq, which learns {WORDS} words, but"
                f" whitening.descriptors is {descriptors}: raise it, or take int8."
            )


def fit_code(
    path: Path,
    name: str,
    settings: Kept,
    sample_path: Path,
    whitening_path: Path,
    seed: int,
    runtime: RuntimeSettings,
) -> None:
    """Writes all that encoding a descriptor needs, learnt from the training sample alone."""
    arrays = {}
    if settings.whiten is not None or settings.precision == "int8":
        with threadpool_limits(runtime.cores), opened_sample(sample_path) as (sample, _):
            memory = runtime.memory_bytes
            if settings.whiten is not None:
                form = settings.matrix or MatrixSettings()
                arrays = _whitening(name, settings.whiten, form, whitening_path, sample, memory)
            code = Code("float32", *_transform(arrays))
            parts = (code.apply(sample[rows]) for rows in _rows(sample, memory))
            learning = (settings.precision, parts, settings.bytes, seed, runtime.cores)
            learnt = quantisers.learn(*learning)
            arrays |= {f"quantiser/{key}": values for key, values in learnt.items()}
    write_hdf5(path, arrays, {"precision": settings.precision, "query": settings.query})


def _whitening(
    name: str, wanted: int, form: MatrixSettings, path: Path, sample: Rows, memory_bytes: int
) -> Arrays:
    """The mean, and as much of the projection as the code keeps, in the form it is kept in."""
    with reading(path) as file:
        kept = file.rows("projection", "f", "P D")
        if wanted > len(kept):
            raise UserError(_too_many(name, wanted, path, file))
        mean, projection = file.array("mean", "f", "D"), kept[:wanted]
    matrix = Matrix(projection)
    if form.rank is not None and form.of is not None:
        if projection.shape[1] % form.of:
            raise UserError(
                f"{PARAMS_PATH}: code_defs.{name}.keep.matrix.of is {form.of}, but a descriptor"
                f" has {projection.shape[1]} dimensions: it must divide this number; use the"
                " channels of a visual word."
            )
        matrix = of_lower_rank(projection, sample, mean, form.rank, form.of, memory_bytes)
    return {"mean": mean.astype(np.float32)} | to_arrays(matrix, form.numbers)


def _transform(arrays: Mapping[str, np.ndarray]) -> tuple[np.ndarray | None, Matrix | None]:
    return arrays.get("mean"), from_arrays(arrays) if "mean" in arrays else None


def _too_many(name: str, wanted: int, path: Path, file: Stored) -> str:
    kept, dim = file.rows("projection", "f", "P D").shape
    count, allowed = int(file.number("descriptors")), int(file.number("dimensions"))
    fitted = f"was fitted on {count} descriptors of {dim} dimensions"
    if kept == allowed:
        reason, remedy = f"keeps {kept}", "raise whitening.dimensions"
    elif kept == dim:
        reason, remedy = fitted, "take a network with more"
    elif kept == count - 1:
        reason = f"{fitted}, which gives at most {kept}"
        remedy = "fit it on more: whitening.descriptors, a larger training set"
    else:
        reason = f"{fitted} that differ in {kept} directions alone"
        remedy = "fit it on more different ones"
    return (
        f"{name} wants {wanted} dimensions, but {path} {reason}:"
        f" lower code_defs.{name}.keep.whiten in {PARAMS_PATH}, or {remedy}."
    )


def read_code(path: Path, whitens: bool = True) -> Code:
    """The code that `fit_code` wrote; without its whitening where that has been done already."""
    with reading(path) as file:
        precision, learnt = read_precision(file), read_learnt(file, "quantiser")
        is_coded = file.text("query") == "coded"
    mean, matrix = _transform(read_arrays(path) if whitens else {})
    return Code(precision, mean, matrix, learnt, is_coded)


def read_arrays(path: Path) -> Arrays:
    """The whitening of a code as it is stored; nothing where it does not whiten."""
    with reading(path) as file:
        found = {name: file.array(name, *form) for name, form in _FORMS.items() if name in file}
        if found and not {"mean", "projection"} <= set(found):
            file.refuse("lacks a part of its whitening")
        if found and from_arrays(found).width != len(found["mean"]):
            file.refuse("the parts of its whitening do not fit each other")
    return found


def encode(
    path: Path, code: Code, side: Side, source_path: Path, runtime: RuntimeSettings
) -> tuple[int, int]:
    """Writes what the code keeps of one side's descriptors; gives their number and bytes each."""
    failed = failed_rows(source_path)
    with (
        writing_hdf5(path) as file,
        reading(source_path) as source,
        threadpool_limits(runtime.cores),
    ):
        descriptors = source.rows("descriptors", "f", "N D")
        dim = descriptors.shape[1]
        fitted = dim if code.matrix is None else code.matrix.width
        if dim != fitted:
            raise UserError(
                f"{source_path} has descriptors of {dim} dimensions, but whitening was fitted on"
                f" {fitted}: run `dvc repro` so that one network made both."
            )
        quantiser = code.quantiser(side, dim)
        target = create_code(file, source, quantiser)
        for rows in _rows(descriptors, runtime.memory_bytes):
            coded = quantiser.encode(code.apply(descriptors[rows]))
            # what has no descriptor stays zeros
            coded[np.isin(np.arange(rows.start, rows.stop), failed)] = 0
            target[rows] = coded
        return len(target), target.shape[1] * target.dtype.itemsize


def _rows(descriptors: Rows, memory_bytes: int) -> Iterator[slice]:
    return blocks(descriptors.shape[0], 16 * descriptors.shape[1], memory_bytes)
