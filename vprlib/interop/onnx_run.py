"""Runs an exported network without PyTorch: images to descriptors."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

import numpy as np
from pydantic import Field, TypeAdapter

from vprlib.images.batches import ImageSource, plan_batches, stream
from vprlib.images.decode import ImageSettings
from vprlib.model.onnx.session import INPUT, OUTPUT, open_session, reason
from vprlib.pipeline.params import UserError
from vprlib.pipeline.progress import progress
from vprlib.pipeline.runtime import RuntimeSettings
from vprlib.pipeline.stored import digest

FORMAT = "vprlib onnx 1"
HEADER = "vprlib"  # key of the metadata


@dataclass(frozen=True)
class Identity:
    """What an exported network was made from."""

    variant: str
    model: str  # digest of the model file
    code: str
    coder: str  # digest of the code's file
    images: dict[str, object]  # how the images of the set are decoded
    architecture: str  # in words
    dim: Annotated[int, Field(gt=0, le=2**20)]  # of its descriptors

    def as_json(self) -> str:
        return json.dumps({"format": FORMAT, **vars(self)}, sort_keys=True)

    def differences(self, other: Self) -> list[str]:
        """What differs from `other`, in words."""
        words = {
            "variant": f"is of variant {self.variant}, not {other.variant}",
            "code": f"gives code {self.code}, not {other.code}",
            "images": f"takes images as {self.images}, but the set's are {other.images}",
        }
        if self.variant == other.variant:
            words["model"] = f"was made of another {other.variant} network than the present one"
        if self.code == other.code:
            words["coder"] = f"was made with another code {other.code} than the present one"
        return [text for name, text in words.items() if getattr(self, name) != getattr(other, name)]


def identity(
    variant: str,
    model_path: Path,
    code: str,
    coder_path: Path | None,
    images: ImageSettings,
    architecture: str = "",
    dim: int = 0,
) -> Identity:
    """From the present files."""
    settings = dict(sorted(json.loads(images.model_dump_json()).items()))
    digests = (digest(model_path), "" if coder_path is None else digest(coder_path))
    return Identity(variant, digests[0], code, digests[1], settings, architecture, dim)


class Exported:
    """A network in ONNX Runtime."""

    def __init__(self, content: bytes | Path, threads: int) -> None:
        self.name = str(content) if isinstance(content, Path) else "the export"
        try:
            self._session = open_session(content, threads, "an exported network")
            header = json.loads(self._session.get_modelmeta().custom_metadata_map[HEADER])
            if header.pop("format") != FORMAT:
                raise KeyError(FORMAT)
            self.identity = TypeAdapter(Identity).validate_python(header)
            length = self._session.get_outputs()[0].shape[-1]
            if isinstance(length, int) and length != self.identity.dim:
                raise ValueError(f"its output is of {length}, not of {self.identity.dim}")
        except KeyError:
            raise UserError(f"{self.name} is not a '{FORMAT}' file: export it again.") from None
        except (ValueError, TypeError, AttributeError) as error:
            why = reason(error)
            raise UserError(f"{self.name} is not a network ({why}): export it again.") from None

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width, if it takes one size only."""
        height, width = self._session.get_inputs()[0].shape[1:3]
        is_fixed = isinstance(height, int) and isinstance(width, int)
        return (height, width) if is_fixed else None

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Images uint8 [B, H, W, 3] to unit vectors [B, dim]."""
        height, width = pixels.shape[1:3]
        if self.size not in (None, (height, width)):
            raise UserError(
                f"{self.name} takes images of {self.size[1]}×{self.size[0]} pixels only, but was"
                f" given {width}×{height}: use the network itself, or export one for that size."
            )
        try:
            return self._session.run([OUTPUT], {INPUT: pixels})[0]
        except Exception as error:
            raise UserError(
                f"{self.name} cannot describe images of {width}×{height} pixels ({reason(error)}):"
                " make them larger with the data set's images.resize."
            ) from None

    def describe(self, source: ImageSource, runtime: RuntimeSettings) -> np.ndarray:
        """The descriptors [N, dim] of all images, in the same batches as with PyTorch."""
        vectors = np.empty((len(source.index), self.identity.dim), np.float32)
        batches = plan_batches(source.sizes(), np.arange(len(vectors)))
        found = progress(stream(source, batches, runtime), len(batches), "describing", "batch")
        for batch in found:
            vectors[batch.rows] = self(batch.pixels)
        return vectors
