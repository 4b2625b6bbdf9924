"""What tells the images of a set apart from those of others: bytes, looks, and places."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from vprlib.artifacts import write_hdf5
from vprlib.extraction_settings import Unreadable
from vprlib.index import ImageIndex
from vprlib.look_alikes import Looks, look_at
from vprlib.runtime import RuntimeSettings


@dataclass(frozen=True)
class Prints:
    """Of the images of one side, in the order of its index."""

    set_name: str
    names: list[str]
    digests: np.ndarray  # [N] of the bytes
    positions: np.ndarray  # [N, 2] metres, NaN where not known
    looks: Looks

    def __len__(self) -> int:
        return len(self.names)


def prints_of(
    index: ImageIndex, folder: Path, runtime: RuntimeSettings, unreadable: Unreadable
) -> Prints:
    """Opens every image once."""
    looks = look_at(index, folder, runtime, unreadable)
    return Prints(index.set_name, index.names, index.digests, index.positions, looks)


def write_prints(path: Path, database: Prints, queries: Prints) -> None:
    arrays: dict[str, np.ndarray | list[str]] = {}
    for side, p in (("database", database), ("queries", queries)):
        parts = {"names": p.names, "digests": p.digests, "positions": p.positions}
        arrays |= {f"{side}/{name}": values for name, values in (parts | vars(p.looks)).items()}
    write_hdf5(path, arrays, {"set": database.set_name})


def read_prints(path: Path) -> Iterable[Prints]:
    """The database and the queries."""
    with h5py.File(path) as file:
        return [
            Prints(
                str(file.attrs["set"]),
                list(group["names"].asstr()[:]),
                group["digests"][:],
                group["positions"][:],
                Looks(group["bits"][:], group["is_plain"][:]),
            )
            for group in (file["database"], file["queries"])
        ]
