"""Reads a network's backbone as operations that integers can do, normalisations folded in."""

import operator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from vprlib.model.lite0 import Same
from vprlib.model.operations import IMAGE, Operation
from vprlib.pipeline.params import UserError

_PASSED_BY = (nn.Dropout, nn.Dropout2d, nn.Identity)
_RECTIFIERS = (F.relu, torch.relu, "relu", "relu_")
_SUMS = (operator.add, operator.iadd, torch.add, "add", "add_")


@dataclass(frozen=True)
class Traced:
    """The operations, and weight and bias of each convolution among them, in their order."""

    steps: tuple[Operation, ...]
    weights: list[tuple[Tensor, Tensor]]


def trace(backbone: nn.Module, name: str) -> Traced:
    """A sentence where the network does what the operations cannot."""
    try:
        graph = _Tracer().trace(backbone)
    except (fx.proxy.TraceError, TypeError):
        raise UserError(_refusal(name, "computes different things for different images")) from None
    reader = _Reader(backbone, name)
    for node in graph.nodes:
        reader.read(node)
    reader.check_start()
    return Traced(tuple(reader.steps), reader.weights)


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, Same) or super().is_leaf_module(m, module_qualified_name)


class _Reader:
    """Goes through the network node by node; `maps` says which map a node gives."""

    def __init__(self, backbone: nn.Module, name: str) -> None:
        self.backbone, self.name = backbone, name
        self.steps: list[Operation] = []
        self.weights: list[tuple[Tensor, Tensor]] = []
        self.maps: dict[fx.Node, str] = {}
        self.margins: dict[fx.Node, int] = {}  # around the map of a node, as `Same` adds them

    def read(self, node: fx.Node) -> None:
        if node.op == "placeholder":
            self.maps[node] = IMAGE
        elif node.op == "call_module":
            self._read_layer(node, self.backbone.get_submodule(str(node.target)))
        elif node.op != "output":
            self._read_function(node)

    def check_start(self) -> None:
        """Convolutions alone know what the image's numbers mean."""
        for step in self.steps:
            if IMAGE in step.inputs[step.kind == "conv" :]:
                raise self._refused(f"does more to its image than convolve it ({step.output})")

    def _read_layer(self, node: fx.Node, layer: nn.Module) -> None:
        source: Any
        (source,) = node.args
        if isinstance(layer, nn.Conv2d):
            self._convolve(node, source, layer)
        elif isinstance(layer, Same):  # the convolution after it takes them over
            self.maps[node], self.margins[node] = self.maps[source], layer.kernel // 2
        elif isinstance(layer, nn.BatchNorm2d):
            self._fold(node, source, layer)
        elif isinstance(layer, nn.ReLU6):
            self._rectify(node, source)
            self._add(node, Operation(kind="clip", ceiling=6.0, **self._between(node, node)))
        elif isinstance(layer, nn.ReLU):
            self._rectify(node, source)
        elif isinstance(layer, nn.MaxPool2d):
            self._maximum(node, source, layer)
        elif isinstance(layer, _PASSED_BY):
            self.maps[node] = self.maps[source]
        else:
            raise self._refused(f"has a {type(layer).__name__} ({node.target})")

    def _read_function(self, node: fx.Node) -> None:
        args: tuple[Any, ...] = node.args
        if node.target in _RECTIFIERS:
            self._rectify(node, args[0])
        elif node.target in _SUMS and all(isinstance(a, fx.Node) for a in args):
            self._sum(node, *args)
        elif node.target in (torch.cat, torch.concat) and _axis(node) == 1:
            sources = tuple(self.maps[source] for source in args[0])
            self._add(node, Operation(kind="join", inputs=sources, output=node.name))
        else:
            named = getattr(node.target, "__name__", str(node.target))
            raise self._refused(f"calls {named} ({node.name})")

    def _convolve(self, node: fx.Node, source: fx.Node, layer: nn.Conv2d) -> None:
        if isinstance(layer.padding, str) or layer.padding_mode != "zeros":
            raise self._refused(f"pads in a way of its own ({node.target})")
        weight = layer.weight.detach().float().cpu()
        none = torch.zeros(len(weight))
        self.weights.append((weight, none if layer.bias is None else layer.bias.detach().cpu()))
        margin = self.margins.get(source)
        step = Operation(
            kind="conv",
            **self._between(source, node),
            layer=str(node.target),
            shape=tuple(weight.shape),
            stride=layer.stride,
            padding=layer.padding if margin is None else (margin, margin),
            drops_first=margin is not None,
            dilation=layer.dilation,
            groups=layer.groups,
        )
        self._add(node, step)

    def _fold(self, node: fx.Node, source: fx.Node, norm: nn.BatchNorm2d) -> None:
        """The normalisation into the convolution before it, in float64."""
        step = self._own_convolution(source)
        if step is None or step.is_rectified or len(step.inputs) > 1:
            raise self._refused(f"normalises what is no convolution's ({node.target})")
        assert norm.running_mean is not None and norm.running_var is not None
        place = sum(s.kind == "conv" for s in self.steps[: self.steps.index(step)])
        gain = (norm.running_var.double() + norm.eps).rsqrt().cpu()
        gain = gain if norm.weight is None else gain * norm.weight.detach().double().cpu()
        weight, bias = (t.double() for t in self.weights[place])
        shift = 0.0 if norm.bias is None else norm.bias.detach().double().cpu()
        bias = (bias - norm.running_mean.double().cpu()) * gain + shift
        self.weights[place] = (weight * gain[:, None, None, None]).float(), bias.float()
        self.maps[node] = step.output

    def _rectify(self, node: fx.Node, source: fx.Node) -> None:
        step = self._own_convolution(source)
        if step is None:
            self._add(node, Operation(kind="clip", **self._between(source, node)))
        else:
            self._replace(step, step.model_copy(update={"is_rectified": True}))
            self.maps[node] = step.output

    def _maximum(self, node: fx.Node, source: fx.Node, layer: nn.MaxPool2d) -> None:
        if _pair(layer.dilation) != (1, 1):
            raise self._refused(f"has a dilated maximum ({node.target})")
        step = Operation(
            kind="max",
            **self._between(source, node),
            kernel=_pair(layer.kernel_size),
            stride=_pair(layer.stride),
            padding=_pair(layer.padding),
            rounds_up=layer.ceil_mode,
        )
        self._add(node, step)

    def _sum(self, node: fx.Node, first: fx.Node, second: fx.Node) -> None:
        """The convolution that comes last adds the other map to what it gives."""
        own = {source: self._own_convolution(source) for source in (first, second)}
        free = {
            source: step
            for source, step in own.items()
            if step is not None and len(step.inputs) == 1 and not step.is_rectified
        }
        if not free:
            raise self._refused(f"adds what no convolution gives ({node.name})")
        last = max(free, key=lambda source: self.steps.index(free[source]))
        other = self.maps[second if last is first else first]
        step = free[last]
        made = {s.output for s in self.steps[: self.steps.index(step)]} | {IMAGE}
        if other not in made:
            raise self._refused(f"adds what comes after a convolution ({node.name})")
        self._replace(step, step.model_copy(update={"inputs": (*step.inputs, other)}))
        self.maps[node] = step.output

    def _own_convolution(self, node: fx.Node) -> Operation | None:
        """The convolution that gives this node's map, if nothing else uses the map."""
        steps = [s for s in self.steps if s.output == self.maps[node] and s.kind == "conv"]
        return steps[0] if steps and len(node.users) == 1 else None

    def _between(self, source: fx.Node, node: fx.Node) -> dict[str, object]:
        """Input and output of an operation; two operations of one node get different outputs."""
        taken = any(step.output == node.name for step in self.steps)
        name = f"{node.name}_clipped" if taken or source is node else node.name
        return {"inputs": (self.maps[source],), "output": name}

    def _add(self, node: fx.Node, step: Operation) -> None:
        self.steps.append(step)
        self.maps[node] = step.output

    def _replace(self, old: Operation, new: Operation) -> None:
        self.steps[self.steps.index(old)] = new

    def _refused(self, why: str) -> UserError:
        return UserError(_refusal(self.name, why))


def _refusal(name: str, why: str) -> str:
    return (
        f"{name} cannot compute in int8: it {why}. Supported are convolutions, normalisations"
        " after them, ReLU, max pooling, sums and concatenations, as in AlexNet, VGG, ResNet and"
        " SqueezeNet: use another network, or round to float16."
    )


def _axis(node: fx.Node) -> object:
    return node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return value if isinstance(value, tuple) else (value, value)
