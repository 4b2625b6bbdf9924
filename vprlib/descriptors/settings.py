"""The settings of an approximate index: how it is built, and how it is searched."""

from typing import Annotated

from pydantic import Field, field_validator

from vprlib.pipeline.params import Section, Seed

Strict = Annotated[int, Field(strict=True)]


class IndexSettings(Section):
    """`code_defs.<name>.index`: changing it builds the index again."""

    factory: str  # as Faiss writes it: 'IVF1024,Flat', 'OPQ64_256,IVF4096,PQ64', 'HNSW32' …
    train: Annotated[Strict, Field(ge=1, le=10**9)]  # random descriptors, or all
    seed: Annotated[Seed, Field(strict=True)]
    # of an IVF index for a set that grows: it is not trained anew until this share of the images
    # lies farther from its centres than 99 % did; null: it is trained anew each time
    drift: Annotated[float, Field(strict=True, ge=0.02, le=1)] | None = None


class SearchSettings(Section):
    """`code_defs.<name>.search`: changing it only searches again."""

    parameters: str  # as Faiss writes them: 'nprobe=16', 'efSearch=64'; '' for its defaults
    # candidates per neighbor, which are measured again by the stored descriptors;
    # 0: the index's own order and approximate distances
    refine: Annotated[Strict, Field(ge=0, le=10**5)]

    @field_validator("parameters")
    @classmethod
    def _are_numbers(cls, text: str) -> str:
        for part in text.split(",") if text else ():
            name, _, value = part.partition("=")
            if not name.isidentifier() or not value.isdecimal() or not 0 < int(value) < 2**31:
                raise ValueError(
                    f"'{text}' should be numbers by name, such as 'nprobe=16' or"
                    " 'nprobe=16,quantizer_efSearch=64', each at least 1"
                )
        return text
