"""The training images that codes are fitted on, and whether a code in use needs any."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import h5py
import numpy as np
from pydantic import Field

from vprlib.descriptors.quantisers import Coded, Quantiser
from vprlib.descriptors.whitening import Rows
from vprlib.pipeline.params import Seed, UserError

Side = Literal["database", "queries"]


@contextmanager
def opened(path: Path, expected: int) -> Iterator[h5py.Dataset]:
    """The descriptors [N, D] on disk, checked to be as many as the index has images."""
    with h5py.File(path) as file:
        yield checked(file["descriptors"], path, expected)


def failed_rows(path: Path) -> np.ndarray:
    """Rising rows of images that could not be read: their descriptors are zeros, and no result."""
    with h5py.File(path) as file:
        return np.flatnonzero(file["failed"][:]) if "failed" in file else np.zeros(0, np.int64)


def checked(found: h5py.Dataset, path: Path, expected: int) -> h5py.Dataset:
    if len(found) != expected:
        raise UserError(
            f"{path} has {len(found)} descriptors, but the index has {expected} images:"
            " run `dvc repro` so that both are of the same set."
        )
    return found


def create_code(file: h5py.File, side: Side, count: int, quantiser: Quantiser) -> h5py.Dataset:
    """An empty data set for so many codes, which says how it is to be read."""
    empty = quantiser.encode(np.zeros((1, quantiser.dim), np.float32))
    codes = file.create_dataset(side, (count, empty.shape[1]), dtype=empty.dtype)
    codes.attrs["dim"] = quantiser.dim
    codes.attrs["precision"] = quantiser.precision
    for name, values in quantiser.learnt.items():
        file.create_dataset(f"learnt/{side}/{name}", data=values)
    return codes


@contextmanager
def opened_code(
    code_path: Path, side: Side, full_path: Path, expected: int
) -> Iterator[h5py.Dataset | Coded]:
    """What a code keeps of one side, as vectors [N, d]; one that keeps all has no copy."""
    with h5py.File(code_path) as file:
        if side in file:
            codes = checked(file[side], code_path, expected)
            yield codes if codes.dtype.kind == "f" else Coded(codes, _quantiser(file, side))
        else:
            with opened(full_path, expected) as full:
                yield full


def _quantiser(file: h5py.File, side: Side) -> Quantiser:
    attributes = file[side].attrs
    learnt = {name: data[...] for name, data in file.get(f"learnt/{side}", {}).items()}
    return Quantiser(str(attributes["precision"]), int(attributes["dim"]), learnt)


# strict: pydantic would read true as 1
Count = Annotated[int, Field(ge=1, strict=True)]
SampleSeed = Annotated[Seed, Field(strict=True)]

_NEEDED = "Some code in use is fitted on descriptors of training images.\n"
_NOT_NEEDED = "No code in use is fitted on anything.\n"


def words(is_needed: bool) -> str:
    """What a file says of it; the same words for all codes, so that one more changes nothing."""
    return _NEEDED if is_needed else _NOT_NEEDED


def is_needed(words_path: Path) -> bool:
    return words_path.read_text(encoding="utf-8") == _NEEDED


@dataclass(frozen=True)
class Some:
    """Some rows of a dataset [N, D], as if there were no others."""

    whole: h5py.Dataset
    rows: np.ndarray  # rising

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.rows), self.whole.shape[1]

    def __getitem__(self, part: slice | tuple[slice, slice]) -> np.ndarray:
        wanted, *columns = part if isinstance(part, tuple) else (part,)
        rows = self.rows[wanted]
        first, end = (rows[0], rows[-1] + 1) if len(rows) else (0, 0)
        return self.whole[(slice(first, end), *columns)][rows - first]


@contextmanager
def opened_sample(path: Path) -> Iterator[tuple[Rows, dict[str, str | int]]]:
    """The descriptors [n, D] to fit on, and what they are of."""
    failed = failed_rows(path)
    with h5py.File(path) as file:
        found = file["descriptors"]
        if len(failed):
            found = Some(found, np.setdiff1d(np.arange(len(found)), failed))
        origin = {name: str(file.attrs[name]) for name in ("set", "variant")}
        if not found.shape[0]:
            raise UserError(
                f"{path} has no descriptor to fit whitening on, since none of its images could be"
                f" read: put back those of {origin['set']} and run `dvc repro -f -s extract_train`."
            )
        yield found, {**origin, "descriptors": found.shape[0]}
