"""Files of descriptors, full or coded, read a block at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from vprlib.descriptors.quantisers import Coded, Quantiser
from vprlib.descriptors.whitening import Rows
from vprlib.pipeline.params import UserError


@contextmanager
def opened(path: Path, expected: int | None = None) -> Iterator[h5py.Dataset | Coded]:
    """The vectors [N, D] of a file, decoded as they are read; N is checked where it is expected."""
    with h5py.File(path) as file:
        found = file["descriptors"]
        if expected is not None and len(found) != expected:
            raise UserError(
                f"{path} has {len(found)} descriptors, but the index has {expected} images:"
                " run `dvc repro` so that both are of the same set."
            )
        if found.dtype.kind == "f":
            yield found
        else:
            learnt = {name: data[...] for name, data in file.get("learnt", {}).items()}
            code = Quantiser(found.attrs["precision"], int(found.attrs["dim"]), learnt)
            yield Coded(found, code)


def failed_rows(path: Path) -> np.ndarray:
    """Ascending rows of unreadable images; their descriptors are zeros and never a result."""
    with h5py.File(path) as file:
        return np.flatnonzero(file["failed"][:]) if "failed" in file else np.zeros(0, np.int64)


def create_code(file: h5py.File, source: h5py.File, quantiser: Quantiser) -> h5py.Dataset:
    """An empty dataset for the codes of all descriptors in `source`, and how to read them."""
    empty = quantiser.encode(np.zeros((1, quantiser.dim), np.float32))
    shape = (len(source["descriptors"]), empty.shape[1])
    codes = file.create_dataset("descriptors", shape, empty.dtype)
    codes.attrs["dim"] = quantiser.dim
    codes.attrs["precision"] = quantiser.precision
    for name, values in quantiser.learnt.items():
        file.create_dataset(f"learnt/{name}", data=values)
    if "failed" in source:
        file.create_dataset("failed", data=source["failed"][:])
    file.attrs.update(dict(source.attrs))
    return codes


@dataclass(frozen=True)
class RowSubset:
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
    """The descriptors [n, D] to fit on, with their set, variant and number."""
    failed = failed_rows(path)
    with h5py.File(path) as file:
        found = file["descriptors"]
        if len(failed):
            found = RowSubset(found, np.setdiff1d(np.arange(len(found)), failed))
        origin = {name: str(file.attrs[name]) for name in ("set", "variant")}
        if not found.shape[0]:
            raise UserError(
                f"{path} has no descriptor to fit whitening on, because no image could be"
                f" read: restore those of {origin['set']} and run `dvc repro -f -s extract_train`."
            )
        yield found, {**origin, "descriptors": found.shape[0]}
