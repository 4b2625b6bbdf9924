"""The `extraction` section of params.yaml."""

from typing import Annotated, Literal

from vprlib.images.index import Unreadable
from vprlib.model.settings import Precision
from vprlib.pipeline.params import At, StageParams

Stored = Literal["float32", "float16"]


class ExtractionSettings(StageParams):
    """How the images of a set are described, and the precision of the file."""

    # of convolutions; auto: bfloat16 if the device has it
    precision: Annotated[Precision, At("extraction.precision")] = "auto"
    stored: Annotated[Stored, At("extraction.stored")] = "float32"
    unreadable: Annotated[Unreadable, At("extraction.unreadable")] = "stop"
