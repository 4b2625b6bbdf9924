"""Codes on disk: written with what they are to be read by, and read as vectors."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from vprlib.descriptors import Side, checked, opened
from vprlib.quantisers import Coded, Quantiser


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
