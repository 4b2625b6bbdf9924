"""Settings of the model: the `pool` section, and names of precisions."""

import difflib
from typing import Literal

from pydantic import Field

from vprlib.pipeline.params import Section

ComputePrecision = Literal["float32", "bfloat16"]
Precision = Literal["auto", "float32", "bfloat16"]  # auto: see precision.resolve_precision
StoredPrecision = Literal["float32", "float16", "bfloat16"]


PoolKind = Literal["netvlad", "average", "max", "gem"]
Version = Literal["v1", "v2"]


class PoolSettings(Section):
    """How local features become one vector; all but `kind` and `gem_p` are for NetVLAD only."""

    kind: PoolKind = "netvlad"
    version: Version = "v1"  # of the assignment: v1 without a bias, v2 with one
    normalise_input: bool = True  # local features to unit length first
    intra_normalise: bool = True  # each cluster's residual to unit length
    gem_p: float = Field(3.0, ge=0.01, le=100)  # initial value of GeM's learnt exponent


def has_words(kind: PoolKind) -> bool:
    """Only NetVLAD needs visual words, and so sampled local descriptors."""
    return kind == "netvlad"


def unknown_name(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=4, cutoff=0.4)
    there_are = f"did you mean {', '.join(near)}" if near else f"there are {', '.join(known)}"
    return f"there is no backbone '{name}'; {there_are}"
