"""How the images of a set are described, and in what numbers that is kept."""

from dataclasses import dataclass
from typing import Literal

from vprlib.images.index import Unreadable
from vprlib.model.settings import Precision

Stored = Literal["float32", "float16"]


@dataclass(frozen=True)
class ExtractionSettings:
    """The `extraction` section of params.yaml, as the stages read it."""

    precision: Precision = "auto"  # of convolutions; auto: bfloat16 if the device has it
    stored: Stored = "float32"
    unreadable: Unreadable = "stop"
