"""A backbone as a list of the few operations that integers can do, and what carries them out."""

from collections.abc import Iterable, Sequence
from typing import Literal

from pydantic import Field, model_validator
from torch import Tensor, nn

from vprlib.pipeline.params import Section

IMAGE = "image"  # the name of what goes in
Pair = tuple[int, int]


class Operation(Section):
    """One operation on feature maps that have names."""

    kind: Literal["conv", "max", "clip", "join"]
    inputs: tuple[str, ...]  # of a convolution: the map, and one that is added to what it gives
    output: str
    layer: str = ""  # of a convolution, in the network it comes from
    shape: tuple[int, ...] = ()  # of its weight
    kernel: Pair = (1, 1)
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1
    is_rectified: bool = False  # ReLU at the end
    ceiling: float | None = None  # of what is clipped, beside zero
    rounds_up: bool = False  # windows that stand out count: 'ceil_mode'
    drops_first: bool = False  # of the margins, the first row or column along an even side

    def margins(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Columns left and right and rows above and below that a convolution adds to a map."""
        down, across = self.padding
        if not self.drops_first:
            return across, across, down, down
        return across - 1 + width % 2, across, down - 1 + height % 2, down

    def reach(self, height: int, width: int) -> Pair:
        """How many rows and columns max pooling gives."""
        sizes = []
        for length, kernel, stride, padding in zip(
            (height, width), self.kernel, self.stride, self.padding, strict=True
        ):
            span = length + 2 * padding - kernel
            count = (-(-span // stride) if self.rounds_up else span // stride) + 1
            stands_out = (count - 1) * stride >= length + padding
            sizes.append(count - 1 if self.rounds_up and stands_out else count)
        return sizes[0], sizes[1]


class Grid(Section):
    """The numbers 0 … 255 of a map mean `scale` times (number − zero)."""

    scale: float = Field(gt=0)
    zero: int = Field(ge=0, le=255)


class Operations(Section):
    """All that a backbone does, in order; the last operation gives its map."""

    steps: tuple[Operation, ...] = Field(min_length=1)
    grids: dict[str, Grid]  # by map; the last has none where a convolution gives it

    @model_validator(mode="after")
    def _maps_exist(self) -> "Operations":
        known = {IMAGE}
        for step in self.steps:
            if not set(step.inputs) <= known:
                raise ValueError(f"{step.output} is made of {step.inputs}, but there is no such")
            known.add(step.output)
        return self

    @property
    def convolutions(self) -> tuple[Operation, ...]:
        return tuple(step for step in self.steps if step.kind == "conv")


class Runner(nn.Module):
    """Carries the operations out; what each of them is, a class below this one says."""

    def __init__(self, steps: Sequence[Operation]) -> None:
        super().__init__()
        self.steps = tuple(steps)
        self.convolutions = tuple(step for step in steps if step.kind == "conv")
        self._places = {step.output: n for n, step in enumerate(self.convolutions)}
        self._over = _last_uses(self.steps)

    def forward(self, image: Tensor) -> Tensor:
        maps = {IMAGE: self.taken(image)}
        for step in self.steps:
            maps[step.output] = getattr(self, step.kind)(step, *(maps[n] for n in step.inputs))
            for name in self._over[step.output]:
                del maps[name]
        return self.given(maps[self.steps[-1].output])

    def place(self, step: Operation) -> int:
        """Of a convolution among all."""
        return self._places[step.output]

    def taken(self, image: Tensor) -> Tensor:
        raise NotImplementedError

    def given(self, found: Tensor) -> Tensor:
        raise NotImplementedError


def _last_uses(steps: Iterable[Operation]) -> dict[str, list[str]]:
    """For each operation, the maps that no later operation needs."""
    last = {name: step.output for step in steps for name in step.inputs}
    over: dict[str, list[str]] = {step.output: [] for step in steps}
    for name, step in last.items():
        over[step].append(name)
    return over
