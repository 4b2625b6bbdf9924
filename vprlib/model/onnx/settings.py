"""How a network in ONNX takes images, as `networks.….input` in params.yaml."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from vprlib.images.decode import Length
from vprlib.pipeline.params import Section

Mean = Annotated[float, Field(ge=-1000, le=1000)]
Spread = Annotated[float, Field(ge=1e-6, le=1000)]


class OnnxInput(Section):
    """What an ONNX file does not tell."""

    layout: Literal["nchw", "nhwc"] = "nchw"
    size: tuple[Length, Length] | None = None  # width and height; null: that of the images
    resample: Literal["bilinear", "bicubic"] = "bilinear"  # how they become of that size
    colours: Literal["rgb", "bgr"] = "rgb"
    # of pixels from 0 to 1; null, both: the network takes pixels from 0 to 255
    mean: tuple[Mean, Mean, Mean] | None
    std: tuple[Spread, Spread, Spread] | None
    output: str | None = None  # its name, if there are several

    @model_validator(mode="after")
    def _both_or_none(self) -> Self:
        if (self.mean is None) != (self.std is None):
            raise ValueError("mean and std should both be numbers, or both null")
        return self
