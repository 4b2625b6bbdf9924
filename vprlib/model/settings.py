"""Settings of the model: the `pool` section, and names of precisions."""

import difflib
from typing import Annotated, Literal

from pydantic import Field

from vprlib.model.heads.settings import GemPower, Head, HeadSettings, Version

ComputePrecision = Literal["float32", "bfloat16"]
Precision = Literal["auto", "float32", "bfloat16"]  # auto: see precision.resolve_precision
StoredPrecision = Literal["float32", "float16", "bfloat16"]


PlainKind = Literal["netvlad", "average", "max", "gem"]


class PoolSettings(HeadSettings):
    """How local features become one vector; all but `kind` and `gem_p` are for NetVLAD only."""

    kind: PlainKind = "netvlad"
    version: Version = "v1"  # of the assignment: v1 without a bias, v2 with one
    normalise_input: bool = True  # local features to unit length first
    intra_normalise: bool = True  # each cluster's residual to unit length
    gem_p: GemPower = 3.0  # initial value of GeM's learnt exponent

    def length(self, clusters: int, channels: int) -> int:
        return clusters * channels if self.kind == "netvlad" else channels


Pool = PoolSettings | Head
AnyPool = Annotated[Pool, Field(discriminator="kind")]  # in params.yaml and in model files
HeadKind = Literal["gem_fc", "convap", "mixvpr", "boq", "salad", "supervlad", "netvlad_linear"]
PoolKind = Literal[PlainKind, HeadKind]


def has_words(kind: PoolKind) -> bool:
    """Whether the pool starts from visual words, and so needs sampled local descriptors."""
    return kind in ("netvlad", "supervlad", "netvlad_linear")


def unknown_name(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=4, cutoff=0.4)
    there_are = f"did you mean {', '.join(near)}" if near else f"there are {', '.join(known)}"
    return f"there is no backbone '{name}'; {there_are}"
