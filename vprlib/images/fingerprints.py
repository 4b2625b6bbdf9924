"""Fingerprints of a set: digests, perceptual hashes and positions of its images."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vprlib.images.hashes import ImageHashes
from vprlib.images.index import ImageIndex
from vprlib.pipeline.artifacts import write_hdf5
from vprlib.pipeline.stored import reading


@dataclass(frozen=True)
class Fingerprints:
    """The images of one side, in the order of its index."""

    set_name: str
    names: list[str]
    digests: np.ndarray  # [N] of the files' bytes
    positions: np.ndarray  # [N, 2] metres, NaN where not known
    hashes: ImageHashes

    def __len__(self) -> int:
        return len(self.names)


def fingerprints_of(index: ImageIndex) -> Fingerprints:
    """Of an index that was just built."""
    assert index.hashes is not None
    return Fingerprints(index.set_name, index.names, index.digests, index.positions, index.hashes)


def write_fingerprints(path: Path, database: Fingerprints, queries: Fingerprints) -> None:
    arrays: dict[str, np.ndarray | list[str]] = {}
    for side, p in (("database", database), ("queries", queries)):
        arrays |= {f"{side}/names": p.names, f"{side}/digests": p.digests}
        arrays[f"{side}/positions"] = p.positions
        arrays |= {f"{side}/{name}": values for name, values in vars(p.hashes).items()}
    write_hdf5(path, arrays, {"set": database.set_name})


def read_fingerprints(path: Path) -> Iterable[Fingerprints]:
    """The database and the queries."""
    with reading(path) as file:
        return [
            Fingerprints(
                file.text("set"),
                file.array(f"{side}/names", "O", rows).tolist(),
                file.array(f"{side}/digests", "i", rows),
                file.array(f"{side}/positions", "f", f"{rows} 2"),
                ImageHashes(
                    file.array(f"{side}/bits", "u", f"{rows} 32"),
                    file.array(f"{side}/is_plain", "b", rows),
                ),
            )
            for side, rows in (("database", "D"), ("queries", "Q"))
        ]
