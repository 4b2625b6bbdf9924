"""An approximate index as params.yaml describes it: how it is built, and how it is asked."""

from typing import Annotated

from pydantic import Field, field_validator

from vprlib.pipeline.params import Section, Seed

Strict = Annotated[int, Field(strict=True)]


class IndexSettings(Section):
    """`code_defs.<name>.index`: editing it builds the index anew."""

    factory: str  # as Faiss writes it: 'IVF1024,Flat', 'OPQ64_256,IVF4096,PQ64', 'HNSW32' …
    train: Annotated[Strict, Field(ge=1)]  # random database descriptors; all where there are fewer
    seed: Annotated[Seed, Field(strict=True)]


class SearchSettings(Section):
    """`code_defs.<name>.search`: editing it runs `recall` alone."""

    parameters: str  # as Faiss writes them: 'nprobe=16', 'efSearch=64'; '' for its defaults
    # so many times the neighbours wanted are asked for, and measured by the stored descriptors;
    # 0: as the index has them, with distances as it guesses them
    refine: Annotated[Strict, Field(ge=0)]

    @field_validator("parameters")
    @classmethod
    def _are_numbers(cls, text: str) -> str:
        for part in text.split(",") if text else ():
            name, _, value = part.partition("=")
            if not name.isidentifier() or not value.isdecimal() or int(value) < 1:
                raise ValueError(
                    f"'{text}' should be numbers by name, such as 'nprobe=16' or"
                    " 'nprobe=16,quantizer_efSearch=64', each at least 1"
                )
        return text


# strict: pydantic would read true as 1
Count = Annotated[int, Field(ge=1, strict=True)]
SampleSeed = Annotated[Seed, Field(strict=True)]
