"""What is kept of a descriptor: all of it, or its first whitened dimensions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

import h5py
import numpy as np
from pydantic import Field, model_validator
from threadpoolctl import threadpool_limits

from vprlib.artifacts import writing_hdf5
from vprlib.descriptors import Side, failed_rows
from vprlib.index_settings import IndexSettings, SearchSettings
from vprlib.params import PARAMS_PATH, Section, UserError
from vprlib.runtime import RuntimeSettings
from vprlib.whitening import Rows, Whitening, blocks

# the first so many whitened dimensions; null: the descriptor as it is
WhitenedOrAll = Annotated[int, Field(ge=1)] | None


class CodeSettings(Section):
    """An entry of `code_defs`."""

    whiten: WhitenedOrAll = None
    index: IndexSettings | None = None  # null: every search is exact
    search: SearchSettings | None = None  # how the index is asked; null where there is none

    @model_validator(mode="after")
    def _index_is_asked(self) -> Self:
        if (self.index is None) != (self.search is None):
            there, lacking = ("search", "index") if self.index is None else ("index", "search")
            raise ValueError(f"it has `{there}`, which has no use while `{lacking}` is null")
        return self

    @property
    def is_fitted(self) -> bool:
        return self.whiten is not None


@dataclass(frozen=True)
class Code:
    """Makes of a descriptor what is kept of it."""

    whitening: Whitening | None = None

    @property
    def keeps_all(self) -> bool:
        return self.whitening is None

    def apply(self, vectors: np.ndarray) -> np.ndarray:
        """Unit vectors [n, d] of descriptors [n, D]."""
        return vectors if self.whitening is None else self.whitening.apply(vectors)


def check_dimensions(
    codes: Sequence[str], defs: Mapping[str, CodeSettings], dimensions: int, descriptors: int
) -> None:
    """No code in use wants more dimensions than whitening keeps or can find."""
    limits = {
        dimensions: f"whitening.dimensions keeps {dimensions}",
        descriptors - 1: f"the {descriptors} of whitening.descriptors give {descriptors - 1}",
    }
    for name in codes:
        wanted = defs[name].whiten or 0
        if wanted > min(limits):
            raise UserError(
                f"{PARAMS_PATH}: code_defs.{name}.whiten is {wanted}, but {limits[min(limits)]}"
                " at most: lower the one, or raise the other."
            )


def read_code(name: str, settings: CodeSettings, whitening_path: Path) -> Code:
    """The code of that name; as much of the whitening is read as it keeps."""
    wanted = settings.whiten
    if wanted is None:
        return Code()
    if not whitening_path.stat().st_size:
        raise UserError(
            f"{whitening_path} is empty, but the code {name} whitens: name it in `codes`"
            f" of {PARAMS_PATH} and run `dvc repro`."
        )
    with h5py.File(whitening_path) as file:
        if wanted > len(file["projection"]):
            raise UserError(_too_many(name, wanted, whitening_path, file))
        shortened = (
            file[part][:wanted] for part in ("projection", "eigenvalues", "variance_ratio")
        )
        return Code(Whitening(file["mean"][:], *shortened))


def _too_many(name: str, wanted: int, path: Path, file: h5py.File) -> str:
    kept, dim = file["projection"].shape
    count, allowed = int(file.attrs["descriptors"]), int(file.attrs["dimensions"])
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
        f" lower code_defs.{name}.whiten in {PARAMS_PATH}, or {remedy}."
    )


def encode(
    path: Path, code: Code, sides: Mapping[Side, Path], runtime: RuntimeSettings
) -> dict[str, tuple[int, int]]:
    """Writes what the code keeps of each side's descriptors; nothing where it keeps all.

    Gives the shape of what was written by side.
    """
    shapes = {}
    with writing_hdf5(path) as file, threadpool_limits(runtime.cores):
        for side, source in sides.items() if not code.keeps_all else ():
            with h5py.File(source) as stored:
                descriptors = stored["descriptors"]
                _check_fit(code.whitening, descriptors, source)
                shapes[side] = (len(descriptors), code.whitening.dim)
                target = file.create_dataset(side, shapes[side], dtype=np.float32)
                _apply_into(target, code, descriptors, failed_rows(source), runtime.memory_bytes)
    return shapes


def _apply_into(
    target: Rows, code: Code, descriptors: Rows, failed: np.ndarray, memory_bytes: int
) -> None:
    """What has no descriptor stays zeros."""
    for part in blocks(len(descriptors), 16 * descriptors.shape[1], memory_bytes):
        coded = code.apply(descriptors[part])
        coded[np.isin(np.arange(part.start, part.stop), failed)] = 0
        target[part] = coded


def _check_fit(whitening: Whitening, descriptors: Rows, source: Path) -> None:
    if descriptors.shape[1] != len(whitening.mean):
        raise UserError(
            f"{source} has descriptors of {descriptors.shape[1]} dimensions, but whitening was"
            f" fitted on {len(whitening.mean)}: run `dvc repro` so that one network made both."
        )
