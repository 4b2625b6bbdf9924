"""Writes a network in PyTorch as one ONNX file."""

import contextlib
import importlib.util
import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from vprlib.model.lite0 import Same
from vprlib.model.onnx.session import INPUT, OUTPUT
from vprlib.pipeline.params import UserError

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto

OPSET = 18
TRACED = 2  # images in the traced batch; a batch of one would be traced as a constant


class StoredMatrix(nn.Module):
    """X Pᵀ with P as it is stored; it is converted to float32 when used."""

    numbers: Tensor
    scales: Tensor | None

    def __init__(self, arrays: Mapping[str, np.ndarray], name: str) -> None:
        super().__init__()
        self.register_buffer("numbers", torch.from_numpy(arrays[name]))
        scales = arrays.get(f"{name}_scales")
        self.register_buffer("scales", None if scales is None else torch.from_numpy(scales))

    def forward(self, x: Tensor) -> Tensor:
        floats = self.numbers.float()
        return x @ (floats if self.scales is None else floats * self.scales[:, None]).T


def check_installed() -> None:
    for module in ("onnx", "onnxruntime", "onnxscript"):
        if importlib.util.find_spec(module) is None:
            raise UserError(f"writing ONNX needs {module}: run `pip install -e '.[onnx]'`.")


def to_onnx(network: nn.Module, image: np.ndarray, any_size: bool = True) -> tuple[bytes, bool]:
    """The file, and whether it takes images of any size; some networks need a fixed one."""
    check_installed()
    example = torch.from_numpy(np.stack([image] * TRACED))
    if any_size:
        with contextlib.suppress(torch.onnx.errors.OnnxExporterError):
            return _file(network, example, any_size=True), True
    return _file(network, example, any_size=False), False


def _file(network: nn.Module, example: Tensor, any_size: bool) -> bytes:
    free = torch.export.Dim.DYNAMIC
    axes = {0: free, 1: free, 2: free} if any_size else {0: free}
    with silence(), torch.no_grad():
        program = torch.onnx.export(
            network,
            (example,),
            dynamo=True,
            dynamic_shapes=(axes,),
            input_names=[INPUT],
            output_names=[OUTPUT],
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None
    proto = program.model_proto
    graph = proto.graph
    if any(isinstance(layer, Same) for layer in network.modules()):
        _pad_in_convolutions(graph)
    values = (*graph.input, *graph.output, *graph.value_info)
    for part in (proto, graph, *graph.node, *graph.initializer, *values):
        part.ClearField("doc_string")
        part.ClearField("metadata_props")  # paths of this machine, among others
    return as_bytes(proto)


def as_bytes(proto: "ModelProto") -> bytes:
    return proto.SerializeToString(deterministic=True)


def _pad_in_convolutions(graph: "GraphProto") -> None:
    """What `Same` does by sizes that are computed, a convolution does by itself, and faster."""
    from onnx import helper

    known = {tensor.name for tensor in graph.initializer}
    pads = {n.output[0]: n for n in graph.node if n.op_type == "Pad" and n.input[1] not in known}
    for node in graph.node:
        if node.op_type == "Conv" and node.input[0] in pads:
            node.input[0] = pads[node.input[0]].input[0]
            others = [a for a in node.attribute if a.name not in ("auto_pad", "pads")]
            del node.attribute[:]
            node.attribute.extend([*others, helper.make_attribute("auto_pad", "SAME_UPPER")])
    leave_out_unused(graph)


def leave_out_unused(graph: "GraphProto") -> None:
    """Keeps what the outputs need."""
    needed = {output.name for output in graph.output}
    kept: list[NodeProto] = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
            kept.insert(0, node)
    tensors = [tensor for tensor in graph.initializer if tensor.name in needed]
    values = [value for value in graph.value_info if value.name in needed]
    for field, items in zip(
        (graph.node, graph.initializer, graph.value_info), (kept, tensors, values), strict=True
    ):
        del field[:]
        field.extend(items)


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Without progress and warnings of the exporter and of ONNX Runtime's tools."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
