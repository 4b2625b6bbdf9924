"""Describes images as a stream; memory is bounded by one batch and those decoded ahead."""

import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from vprlib.images.batches import Batch, ImageSource, images_a_batch, plan_batches, stream
from vprlib.model.precision import compute_in
from vprlib.model.settings import Precision
from vprlib.pipeline.params import UserError
from vprlib.pipeline.progress import progress
from vprlib.pipeline.runtime import RuntimeSettings

# PyTorch's errors for an image that is too small for the layers
_TOO_SMALL = ("Output size is too small", "can't be greater than actual input size")


@dataclass(frozen=True)
class Described:
    rows: np.ndarray  # [B] rows of the index
    values: Tensor  # [B, …] on the CPU, float32


def describe(
    network: nn.Module | Callable[[Tensor], Tensor],
    source: ImageSource,
    rows: Sequence[int] | np.ndarray,
    device: torch.device,
    runtime: RuntimeSettings,
    label: str = "describing",
    precision: Precision = "float32",
) -> Iterator[Described]:
    """The network's output for each of the rows; batches are ordered by image size."""
    batches = plan_batches(source.sizes(), rows)
    found = describe_batches(network, stream(source, batches, runtime), device, precision)
    return progress(found, len(batches), label, "batch")


@torch.no_grad()
def describe_batches(
    network: nn.Module | Callable[[Tensor], Tensor],
    batches: Iterable[Batch],
    device: torch.device,
    precision: Precision = "float32",
) -> Iterator[Described]:
    """The network's output for each batch; a network stored in bfloat16 also computes in it."""
    own: Precision = getattr(network, "precision", "float32")
    context = compute_in(device, precision if own == "float32" else own)
    for batch in batches:
        pixels = torch.from_numpy(batch.pixels).to(device)
        if device.type == "cuda":  # whose kernels depend on the size of a batch
            pixels = _filled(pixels)
        with context:
            values = network_output(network, pixels)[: len(batch.rows)]
        yield Described(batch.rows, values.float().cpu())


def _filled(pixels: Tensor) -> Tensor:
    """As many images as a batch of their size may have."""
    height, width = pixels.shape[1:3]
    more = images_a_batch(width, height) - len(pixels)
    return torch.cat([pixels, pixels[:1].expand(more, *pixels.shape[1:])])


def network_output(network: Callable[[Tensor], Tensor], pixels: Tensor) -> Tensor:
    """A single image is doubled, except in ONNX: kernels round a batch of one differently."""
    is_exact = getattr(network, "is_exact_alone", False) and pixels.device.type == "cpu"
    _check_memory(network, pixels)
    try:
        if len(pixels) > 1 or is_exact:
            return network(pixels)
        return network(pixels.expand(2, *pixels.shape[1:]))[:1]
    except RuntimeError as error:
        if not any(reason in str(error) for reason in _TOO_SMALL):
            raise
        height, width = pixels.shape[1:3]
        raise UserError(
            f"images of {width}×{height} pixels are too small for the network: make them"
            " larger with the data set's images.resize."
        ) from None


def _check_memory(network: Callable[[Tensor], Tensor], pixels: Tensor) -> None:
    """Refuses images whose first convolution alone would fill the memory of this machine."""
    layers = network.modules() if isinstance(network, nn.Module) else ()
    first = next((layer for layer in layers if isinstance(layer, nn.Conv2d)), None)
    if first is None or pixels.device.type != "cpu":
        return
    count, height, width = pixels.shape[:3]
    # input, output and what PyTorch copies of them, for at least two images
    needed = 12 * max(2, count) * first.out_channels * height * width // math.prod(first.stride)
    if needed > os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"):
        raise UserError(
            f"images of {width}×{height} pixels take about {needed / 2**30:.0f} GiB in the network,"
            " more than this machine has: make them smaller with the data set's images.resize."
        )


def describe_into(
    target: np.ndarray,
    network: nn.Module,
    source: ImageSource,
    rows: Sequence[int] | np.ndarray,
    device: torch.device,
    runtime: RuntimeSettings,
    label: str = "describing",
    precision: Precision = "float32",
) -> None:
    """Writes the descriptor of each row to target[row]: an array, a memmap or an HDF5 dataset."""
    for found in describe(network, source, rows, device, runtime, label, precision):
        order = np.argsort(found.rows)  # HDF5 needs ascending rows
        target[found.rows[order]] = found.values.numpy()[order]
