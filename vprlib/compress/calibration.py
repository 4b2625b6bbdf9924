"""Which range of a map's numbers int8 holds: where the rounding errors are least on images."""

from collections import defaultdict
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from vprlib.compress.fake_quant import FakeQuantBackbone
from vprlib.model.int8 import AS_IT_IS, LARGEST_VALUE, grid_of
from vprlib.model.operations import IMAGE, Grid, Operation

BINS = 2048
PARTS = 60  # of the whole range that are tried as ranges
Images = Callable[[], Iterable[Tensor]]


def calibrate(fake_quant: FakeQuantBackbone, images: Images) -> dict[str, Grid]:
    """The grid of each map, from two passes over normalised images.

    Maps that are concatenated, or of which a maximum is taken, share a grid.
    """
    families = _families(fake_quant.steps)
    extremes: dict[str, tuple[float, float]] = defaultdict(lambda: (0.0, 0.0))

    def widen(name: str, values: Tensor) -> None:
        low, high = extremes[families[name]]
        extremes[families[name]] = min(low, values.min().item()), max(high, values.max().item())

    counts: dict[str, Tensor] = defaultdict(lambda: torch.zeros(BINS, dtype=torch.float64))

    def count(name: str, values: Tensor) -> None:
        low, high = extremes[families[name]]
        if high > low:
            counts[families[name]] += torch.histc(values.float().cpu(), BINS, low, high).double()

    for look in (widen, count):
        fake_quant.look = look
        for batch in images():
            fake_quant(batch)
    fake_quant.look = None
    grids = {
        name: best_grid(counts[family], *extremes[family]) for name, family in families.items()
    }
    grids[IMAGE] = AS_IT_IS
    last = fake_quant.steps[-1]
    if last.kind == "conv" and len(last.inputs) == 1:  # gives float numbers
        del grids[last.output]
    return grids


def best_grid(counts: Tensor, low: float, high: float) -> Grid:
    """Of ranges that are a part of low … high, the one with the least squared error."""
    if high <= low:
        return grid_of(low, high)
    width = (high - low) / len(counts)
    middles = low + width * (torch.arange(len(counts), dtype=torch.float64) + 0.5)
    errors = []
    grids = [grid_of(low * n / PARTS, high * n / PARTS) for n in range(PARTS // 4, PARTS + 1)]
    for grid in grids:
        numbers = (middles / grid.scale + grid.zero).round().clamp(0, LARGEST_VALUE)
        error = ((numbers - grid.zero) * grid.scale - middles).square()
        errors.append(float((error * counts).sum()))
    return grids[errors.index(min(errors))]


def _families(steps: Iterable[Operation]) -> dict[str, str]:
    """For each map, the first of the maps that share a grid with it."""
    families: dict[str, str] = {}
    for step in steps:
        families[step.output] = step.output
        if step.kind == "conv":
            continue
        joined = {families[name] for name in (*step.inputs, step.output)}
        first = next(name for name in families if families[name] in joined)
        families |= {name: families[first] for name, f in families.items() if f in joined}
    return families
