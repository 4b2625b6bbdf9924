"""The `rerank` section of params.yaml: what is taken from an image, and what is compared."""

from typing import Annotated

from pydantic import Field, field_validator

from vprlib.images.decode import Length
from vprlib.pipeline.params import At, StageParams

Keypoints = Annotated[int, Field(ge=8, le=4096, strict=True)]
ShortSide = Annotated[Length, Field(strict=True)]


class KeypointSettings(StageParams):
    """What is taken from an image; changing it runs `keypoints` and what follows."""

    keypoints: Annotated[Keypoints, At("rerank.keypoints")] = 1000  # at most, the strongest
    # pixels: smaller images are enlarged to the first, larger ones are shrunk to the last; a small
    # image that is enlarged to twice its size has more keypoints, and better ones
    short_side: Annotated[tuple[ShortSide, ShortSide], At("rerank.short_side")] = (240, 960)

    @field_validator("short_side")
    @classmethod
    def _rising(cls, sides: tuple[int, int]) -> tuple[int, int]:
        if sides[0] > sides[1]:
            raise ValueError(f"the first should be at most the last, but they are {list(sides)}")
        return sides


class MatchSettings(StageParams):
    """What is compared; changing it runs `rerank` and what follows."""

    top: Annotated[int, Field(ge=1, le=1000, strict=True), At("rerank.top")] = 20  # results
    # a keypoint's nearest must be so much nearer than its second nearest
    ratio: Annotated[float, Field(gt=0, le=1, strict=True), At("rerank.ratio")] = 0.85
