"""Exports a network to ONNX, and measures how far the export is from the network."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from vprlib.interop.onnx_run import HEADER, Identity
from vprlib.model.model import PlaceModel
from vprlib.model.onnx.export import StoredMatrix, as_bytes
from vprlib.model.onnx.network import OnnxNetwork
from vprlib.model.onnx.settings import OnnxInput
from vprlib.pipeline.params import UserError

AGREEMENT = 1e-4  # largest difference between PyTorch and ONNX Runtime
LEAST_COSINE = 0.8  # of descriptors in int8 with those of the full network
SCALES = (1.0, 0.75, 1.3)  # of the images in turn, if the export takes any size


def check_exportable(model: PlaceModel | OnnxNetwork, path: Path) -> None:
    """Pruned and fp16 networks are fine, and our own in int8; bf16 is refused."""
    if isinstance(model, OnnxNetwork):
        if model.takes != OnnxInput(layout="nhwc", size=model.takes.size, mean=None, std=None):
            raise UserError(f"{path} is a network in ONNX from elsewhere: use its own file.")
    elif model.own_precision:
        raise UserError(
            f"{path} is a network that computes in {model.own_precision}, but an export computes in"
            " float32: export the variant that it was made from."
        )


class PlainWhitening(nn.Module):
    """What a code does to a descriptor before quantising, like `codes.Code.apply`."""

    mean: Tensor

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.from_numpy(arrays["mean"]))
        self.projection = StoredMatrix(arrays, "projection")
        self.channels = StoredMatrix(arrays, "channels") if "channels" in arrays else None

    def forward(self, descriptors: Tensor) -> Tensor:
        """[B, D] to unit vectors [B, d]."""
        x = descriptors - self.mean
        if self.channels is not None:
            x = self.channels(x.unflatten(1, (-1, self.channels.numbers.shape[1]))).flatten(1)
        return F.normalize(self.projection(x), dim=1)


class Plain(nn.Module):
    """From images to the descriptors of a code, with the weights of the model."""

    def __init__(self, model: PlaceModel, whitening: Mapping[str, np.ndarray]) -> None:
        super().__init__()
        self.model = model
        self.whitening = PlainWhitening(whitening) if whitening else None
        self.eval()

    def forward(self, pixels: Tensor) -> Tensor:
        """Images uint8 [B, H, W, 3] to unit vectors [B, dim]."""
        x = self.model(pixels)
        return x if self.whitening is None else self.whitening(x)


def with_identity(content: bytes, identity: Identity) -> bytes:
    """The file, which then says what it was made from."""
    import onnx

    proto = onnx.load_from_string(content)
    entry = proto.metadata_props.add()
    entry.key, entry.value = HEADER, identity.as_json()
    return as_bytes(proto)


Describe = Callable[[np.ndarray], np.ndarray]


def difference(
    exported: Describe, expected: Describe, images: Sequence[np.ndarray], any_size: bool
) -> float:
    """The largest difference, for single images in several sizes and for one batch."""
    batches = _batches(images, any_size)
    return max(float(np.abs(exported(batch) - expected(batch)).max()) for batch in batches)


def least_cosine(
    exported: Describe, expected: Describe, images: Sequence[np.ndarray], any_size: bool
) -> float:
    """The same for int8, which rounds."""
    batches = _batches(images, any_size)
    return min(float((exported(b) * expected(b)).sum(axis=1).min()) for b in batches)


def _batches(images: Sequence[np.ndarray], any_size: bool) -> Iterator[np.ndarray]:
    scales = SCALES if any_size else SCALES[:1]
    for number, image in enumerate(images):
        scale = scales[number % len(scales)]
        height, width = (round(side * scale) for side in image.shape[:2])
        yield np.array(Image.fromarray(image).resize((width, height)))[None]
    yield np.stack([image for image in images if image.shape == images[0].shape])


def check(found: float, images: int, path: Path) -> None:
    """Refuses an export that differs too much, or gives NaN."""
    if not found <= AGREEMENT:
        raise UserError(
            f"the export differs from the pipeline by {found:.1e} on {images} images, but at most"
            f" {AGREEMENT:.0e} is allowed, so {path} was not written: use the network itself."
        )


def check_cosine(found: float, images: int, path: Path) -> None:
    if not found >= LEAST_COSINE:
        raise UserError(
            f"descriptors in int8 have a cosine of {found:.2f} with those of the full network on"
            f" {images} images, but at least {LEAST_COSINE} is needed, so {path} was not written:"
            " round the network to float16 instead."
        )
