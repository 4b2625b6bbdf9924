"""Measures 3×3 convolutions three ways, each pass apart: `python -m benchmarks.convolutions`."""

import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
import typer
from torch import Tensor

from vprlib.model.fast.winograd import filtered, gradients, weight_gradient, weight_spectrum
from vprlib.pipeline.runtime import RuntimeSettings

REPEATS = 3
SHAPES = (  # channels in and out, height, width, images
    (512, 512, 30, 40, 12),
    (512, 512, 60, 80, 2),
    (256, 256, 120, 160, 2),
    (128, 128, 240, 320, 2),
    (512, 512, 7, 10, 48),
    (384, 256, 6, 9, 48),
)


def main() -> None:
    """Prints milliseconds: channels-first / channels-last / Winograd, for each of three passes."""
    torch.set_num_threads(RuntimeSettings().cores)
    print("| channels, map, batch | forward | gradient of the input | gradient of the weight |")
    print("|---|---|---|---|")
    for shape in SHAPES:
        with torch.no_grad():
            print(row_of(*shape), flush=True)


def row_of(c: int, k: int, height: int, width: int, images: int) -> str:
    x = torch.randn(images, c, height, width).relu()
    weight, slope = torch.randn(k, c, 3, 3) * 0.05, torch.randn(images, k, height, width)
    first = [t.contiguous() for t in (x, weight, slope)]
    last = [t.to(memory_format=torch.channels_last) for t in (x, weight, slope)]
    x, weight, slope = last
    spectrum = weight_spectrum(weight)  # kept from the forward pass
    passes = [
        (
            *(lambda s=s: F.conv2d(s[0], s[1], padding=1) for s in (first, last)),
            lambda: filtered(x, weight_spectrum(weight), None),
        ),
        (
            *(lambda s=s: plain_gradient(*s, wanted=0) for s in (first, last)),
            lambda: gradients(x, slope, spectrum, False)[0],
        ),
        (
            *(lambda s=s: plain_gradient(*s, wanted=1) for s in (first, last)),
            lambda: weight_gradient(x, slope),
        ),
    ]
    cells = [" / ".join(f"{milliseconds(way):.0f}" for way in ways) for ways in passes]
    channels = str(c) if c == k else f"{c} to {k}"
    return f"| {channels}, {height}×{width}, {images} | {' | '.join(cells)} |"


def plain_gradient(x: Tensor, weight: Tensor, slope: Tensor, wanted: int) -> Tensor:
    """Of the input (0) or the weight (1), as PyTorch computes it."""
    given = (None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1)
    mask = [wanted == 0, wanted == 1, False]
    return torch.ops.aten.convolution_backward(slope, x, weight, *given, mask)[wanted]


def milliseconds(work: Callable[[], Tensor]) -> float:
    """The best of a few, after one that does not count."""
    work()
    taken = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return 1000 * min(taken)


if __name__ == "__main__":
    typer.run(main)
