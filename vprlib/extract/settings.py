"""The `extraction` section of params.yaml."""

from dataclasses import dataclass
from typing import Literal

from vprlib.images.index import Unreadable
from vprlib.model.settings import Precision

Stored = Literal["float32", "float16"]


@dataclass(frozen=True)
class ExtractionSettings:
    """How the images of a set are described, and the precision of the file."""

    precision: Precision = "auto"  # of convolutions; auto: bfloat16 if the device has it
    stored: Stored = "float32"
    unreadable: Unreadable = "stop"
