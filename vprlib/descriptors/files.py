"""Files of descriptors, full or coded, read a block at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast, get_args

import h5py
import numpy as np

from vprlib.descriptors.quantisers import WORDS, Coded, Precision, Quantiser
from vprlib.descriptors.rows import RowSubset
from vprlib.descriptors.whitening import Rows
from vprlib.pipeline.params import UserError
from vprlib.pipeline.stored import NETWORK, Stored, reading


@contextmanager
def opened(path: Path, expected: int | None = None) -> Iterator[h5py.Dataset | Coded]:
    """The vectors [N, D] of a file, decoded as they are read; N is checked where it is expected."""
    with reading(path) as file:
        found = file.rows("descriptors", "fiu", "N D")
        if expected is not None and len(found) != expected:
            raise UserError(
                f"{path} has {len(found)} descriptors, but the index has {expected} images:"
                " run `dvc repro` so that both are of the same set."
            )
        yield found if found.dtype.kind == "f" else Coded(found, _quantiser(file, found.shape[1]))


def failed_rows(path: Path) -> np.ndarray:
    """Ascending rows of unreadable images; their descriptors are zeros and never a result."""
    with reading(path) as file:
        is_failed = file.array("failed", "b", "N") if "failed" in file else np.zeros(0, bool)
        return np.flatnonzero(is_failed)


def network_of(path: Path) -> str:
    """A digest of the network that described the images."""
    with reading(path) as file:
        return file.text(NETWORK)


def create_code(file: h5py.File, source: Stored, quantiser: Quantiser) -> h5py.Dataset:
    """An empty dataset for the codes of all descriptors in `source`, and how to read them."""
    empty = quantiser.encode(np.zeros((1, quantiser.dim), np.float32))
    shape = (len(source.rows("descriptors", "f", "N D")), empty.shape[1])
    codes = file.create_dataset("descriptors", shape, empty.dtype)
    codes.attrs["dim"] = quantiser.dim
    codes.attrs["precision"] = quantiser.precision
    for name, values in quantiser.learnt.items():
        file.create_dataset(f"learnt/{name}", data=values)
    if "failed" in source:
        file.create_dataset("failed", data=source.array("failed", "b", "N"))
    file.attrs.update(source.attributes())
    return codes


def read_precision(file: Stored, name: str = "") -> Precision:
    """The attribute `precision` of an array, or of the whole file."""
    found = file.text("precision", name)
    if found not in get_args(Precision):
        file.refuse(f"it has the precision '{found}'")
    return cast(Precision, found)


def read_learnt(file: Stored, group: str) -> dict[str, np.ndarray]:
    """What a quantiser has learnt."""
    return {
        name: file.array(f"{group}/{name}", "f", sizes)
        for name, sizes in (("scale", ""), ("words", f"M {WORDS} S"))
        if f"{group}/{name}" in file
    }


def _quantiser(file: Stored, width: int) -> Quantiser:
    """How codes of so many numbers are read."""
    precision, dim = read_precision(file, "descriptors"), int(file.number("dim", "descriptors"))
    learnt = read_learnt(file, "learnt")
    needed = {"int8": "scale", "pq": "words"}.get(precision)
    if needed is not None and needed not in learnt:
        file.refuse(f"lacks 'learnt/{needed}'")
    words = learnt.get("words", np.zeros((width, WORDS, dim // max(1, width))))
    widths = {"pq": len(words), "binary": -(-dim // 8)}
    if width != widths.get(precision, dim) or (precision == "pq" and words[:, 0].size != dim):
        file.refuse(f"its codes of {width} numbers are not of {dim} dimensions")
    return Quantiser(precision, dim, learnt)


@contextmanager
def opened_sample(path: Path) -> Iterator[tuple[Rows, dict[str, str | int]]]:
    """The descriptors [n, D] to fit on, with their set, variant and number."""
    failed = failed_rows(path)
    with reading(path) as file:
        found = file.rows("descriptors", "f", "N D")
        if len(failed):
            found = RowSubset(found, np.setdiff1d(np.arange(len(found)), failed))
        origin = {name: file.text(name) for name in ("set", "variant")}
        if not found.shape[0]:
            raise UserError(
                f"{path} has no descriptor to fit whitening on, because no image could be"
                f" read: restore those of {origin['set']} and run `dvc repro -f -s extract_train`."
            )
        yield found, {**origin, "descriptors": found.shape[0]}
