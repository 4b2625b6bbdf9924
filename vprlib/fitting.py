"""The training images that codes are fitted on, and whether a code in use needs any."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import h5py
import numpy as np
from pydantic import Field

from vprlib.descriptors import failed_rows
from vprlib.params import Seed, UserError
from vprlib.whitening import Rows

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


def choose_rows(available: int, wanted: int, seed: int) -> np.ndarray:
    """Rising rows of random images, without replacement; all where there are fewer."""
    generator = np.random.default_rng([seed, available])
    return np.sort(generator.choice(available, min(wanted, available), replace=False))


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
