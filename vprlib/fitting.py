"""The training images that codes are fitted on, and whether a code in use needs any."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import h5py
import numpy as np
from pydantic import Field

from vprlib.params import Seed

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


@contextmanager
def opened_sample(path: Path) -> Iterator[tuple[h5py.Dataset, dict[str, str | int]]]:
    """The descriptors [n, D] to fit on, and what they are of."""
    with h5py.File(path) as file:
        found = file["descriptors"]
        origin = {name: str(file.attrs[name]) for name in ("set", "variant")}
        yield found, {**origin, "descriptors": len(found)}
