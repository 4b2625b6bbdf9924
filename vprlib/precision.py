"""The numbers that a network computes with, by name."""

from typing import Literal

Precision = Literal["float32", "bfloat16"]
StoredPrecision = Literal["float32", "float16", "bfloat16"]
