"""How local features become one vector: the `pool` section of a recipe's model."""

from typing import Literal

from pydantic import Field

from vprlib.pipeline.params import Section

ComputePrecision = Literal["float32", "bfloat16"]
Precision = Literal["auto", "float32", "bfloat16"]  # auto: see precision.resolve_precision
StoredPrecision = Literal["float32", "float16", "bfloat16"]


PoolKind = Literal["netvlad", "average", "max", "gem"]
Version = Literal["v1", "v2"]


class PoolSettings(Section):
    """How local features become one vector; all but `kind` and `gem_p` concern NetVLAD alone."""

    kind: PoolKind = "netvlad"
    version: Version = "v1"  # of the assignment: v1 without a bias, v2 with one
    normalise_input: bool = True  # local features to unit length first
    intra_normalise: bool = True  # each cluster's residual to unit length
    gem_p: float = Field(3.0, gt=0)  # where GeM's learnt exponent starts


def has_words(kind: PoolKind) -> bool:
    """Only NetVLAD starts from visual words, and so from sampled local descriptors."""
    return kind == "netvlad"
