"""A network in ONNX whose convolutions compute in int8, by ONNX Runtime's own tools."""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor, nn

from vprlib.model.model import PlaceModel
from vprlib.model.onnx.export import (
    StoredMatrix,
    as_bytes,
    check_installed,
    leave_out_unused,
    silence,
    to_onnx,
)
from vprlib.model.onnx.network import OnnxNetwork
from vprlib.model.onnx.session import INPUT, open_session
from vprlib.model.onnx.settings import OnnxInput
from vprlib.pipeline.arrays import rows_as_int8
from vprlib.pipeline.params import UserError

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto

Inputs = dict[str, np.ndarray]
Size = tuple[int, int]
Images = Callable[[], Iterable[np.ndarray]]  # batches of pixels, uint8 [B, H, W, 3]
KINDS = ("Conv", "Relu", "Clip", "Add", "MaxPool", "Concat", "Pad")  # what integers can do
ENDS = ("Relu", "Add")  # what may follow the last convolution of a backbone


def check_quantisable(model: PlaceModel) -> None:
    """Raises an error unless all weights of the backbone are in convolutions and norms."""
    check_installed()
    for place, layer in model.backbone.named_modules():
        if not isinstance(layer, nn.Conv2d | nn.BatchNorm2d) and list(layer.parameters(False)):
            raise UserError(
                f"{model.architecture.backbone} cannot compute in int8: it has a"
                f" {type(layer).__name__} ({place}), and only convolutions can: use a network such"
                " as efficientnet_lite0, vgg16 or resnet18, or round to float16."
            )


def quantised(model: PlaceModel, images: Images, threads: int) -> OnnxNetwork:
    """The network in int8, to describe with."""
    content, size = to_int8(
        with_small_whitening(model), images, threads, model.architecture.takes_any_size
    )
    takes = OnnxInput(layout="nhwc", size=size, mean=None, std=None)
    return OnnxNetwork(content, takes, "the network in int8")


def to_int8(
    network: nn.Module, images: Images, threads: int, any_size: bool = True
) -> tuple[bytes, Size | None]:
    """The file, and width and height if it takes images of one size only.

    `images` is asked twice for the same images, and holds one batch at a time.
    """
    first = next(iter(images()))[0]
    content, any_size = to_onnx(network, first, any_size)
    return _in_int8(content, images, threads), None if any_size else (
        first.shape[1],
        first.shape[0],
    )


def with_small_whitening(model: PlaceModel) -> PlaceModel:
    """The network's own whitening is most of its file, so it is stored in int8 too."""
    found = copy.copy(model)
    found._modules = dict(model._modules)
    if model.whitening is not None:
        found._modules["whitening"] = SmallLinear(model.whitening)
    return found


class SmallLinear(nn.Module):
    """A linear layer whose matrix is stored in int8, with a scale per row."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        numbers, scales = rows_as_int8(layer.weight.detach().cpu().numpy())
        self.matrix = StoredMatrix({"matrix": numbers, "matrix_scales": scales}, "matrix")
        self.bias = layer.bias

    def forward(self, x: Tensor) -> Tensor:
        return self.matrix(x) + self.bias


def _in_int8(content: bytes, images: Images, threads: int) -> bytes:
    import onnx
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.inputs = _inputs(images)

        def get_next(self) -> Inputs | None:
            return next(self.inputs, None)

    proto = onnx.load_from_string(content)
    nodes = _of_backbone(proto.graph)
    _round_weights(proto.graph, nodes, _mean_inputs(proto, nodes, images, threads))
    with silence(), TemporaryDirectory() as folder:
        path = Path(folder) / "int8.onnx"
        quantize_static(
            proto,
            path,
            Reader(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(KINDS),
            nodes_to_quantize=[node.name for node in nodes],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            extra_options={"CalibMovingAverage": True},  # the mean of all images' extremes
        )
        made = onnx.load(path)
    _leave_out_zeros(made.graph)
    _shorten(made.graph)
    return as_bytes(made)


def _inputs(images: Images) -> Iterator[Inputs]:
    """One image at a time, which bounds the memory for maps."""
    return ({INPUT: image[None]} for batch in images() for image in batch)


def _of_backbone(graph: "GraphProto") -> list["NodeProto"]:
    """The nodes that become int8: up to the backbone's last convolution, and its ReLU or sum."""
    nodes = list(graph.node)
    convolutions = [n for n, node in enumerate(nodes) if node.op_type == "Conv"]
    last = max(n for n in convolutions if "backbone." in nodes[n].input[1])
    while nodes[last + 1].op_type in ENDS:
        last += 1
    return [node for node in nodes[: last + 1] if node.op_type in KINDS]


def _mean_inputs(
    proto: "ModelProto", nodes: Iterable["NodeProto"], images: Images, threads: int
) -> dict[str, np.ndarray]:
    """By map that a convolution takes, the mean of each channel over all images."""
    import onnx

    maps = list(dict.fromkeys(node.input[0] for node in nodes if node.op_type == "Conv"))
    watched = onnx.ModelProto()
    watched.CopyFrom(proto)
    axes = onnx.numpy_helper.from_array(np.array([0, 2, 3]), "mean_axes")
    watched.graph.initializer.append(axes)
    for name in maps:
        mean = onnx.helper.make_node("ReduceMean", [name, axes.name], [f"{name}_mean"], keepdims=0)
        watched.graph.node.append(mean)
        info = onnx.helper.make_tensor_value_info(mean.output[0], onnx.TensorProto.FLOAT, [None])
        watched.graph.output.append(info)
    session = open_session(as_bytes(watched), threads, "a network in int8")
    found = [session.run([f"{name}_mean" for name in maps], given) for given in _inputs(images)]
    means = (np.mean(values, axis=0, dtype=np.float64) for values in zip(*found, strict=True))
    return dict(zip(maps, means, strict=True))


def _round_weights(
    graph: "GraphProto", nodes: Iterable["NodeProto"], means: Mapping[str, np.ndarray]
) -> None:
    """Rounds weights as int8 will, and takes from each bias what rounding adds on average.

    Most channels are never negative, so that rounding moves all of a map to one side. This is
    most of the error of depthwise layers (Nagel et al., ICCV 2019, section 4.2).
    """
    from onnx import numpy_helper

    tensors = {tensor.name: tensor for tensor in graph.initializer}
    for node in nodes:
        if node.op_type != "Conv":
            continue
        weight = numpy_helper.to_array(tensors[node.input[1]])
        integers, scales = rows_as_int8(weight.reshape(len(weight), -1))
        rounded = (integers * scales[:, None]).reshape(weight.shape)
        added = (rounded - weight).sum(axis=(2, 3), dtype=np.float64)  # K C/g
        mean = means[node.input[0]].reshape(-1, added.shape[1])  # g C/g
        shift = added * mean.repeat(len(added) // len(mean), axis=0)
        if len(node.input) == 2:  # it has no bias
            node.input.append(f"{node.input[1]}_bias")
            none = numpy_helper.from_array(np.zeros(len(weight), np.float32), node.input[2])
            graph.initializer.append(none)
            tensors[node.input[2]] = graph.initializer[-1]
        bias = numpy_helper.to_array(tensors[node.input[2]]) - shift.sum(axis=1)
        for name, values in zip(node.input[1:], (rounded, bias), strict=True):
            tensors[name].CopyFrom(numpy_helper.from_array(values.astype(np.float32), name))


def _leave_out_zeros(graph: "GraphProto") -> None:
    """Weights and biases have no zero point but zero, which need not be said."""
    from onnx import numpy_helper

    tensors = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in tensors:
            assert not numpy_helper.to_array(tensors[node.input[2]]).any()
            del node.input[2]
    leave_out_unused(graph)


def _shorten(graph: "GraphProto") -> None:
    """Short names, and equal tensors once: they would be a tenth of a small file."""
    same: dict[tuple[object, ...], str] = {}
    names = {value.name: value.name for value in (*graph.input, *graph.output)} | {"": ""}
    kept: list[TensorProto] = []
    for tensor in graph.initializer:
        content = (tensor.data_type, *tensor.dims, tensor.raw_data or tensor.SerializeToString())
        names[tensor.name] = same.setdefault(content, f"t{len(same)}")
        if names[tensor.name] == f"t{len(kept)}":
            tensor.name = names[tensor.name]
            kept.append(tensor)
    del graph.initializer[:]
    graph.initializer.extend(kept)
    graph.ClearField("value_info")
    for number, node in enumerate(graph.node):
        node.name = f"n{number}"
        for field in (node.input, node.output):
            new = [names.setdefault(name, f"m{len(names)}") for name in field]
            del field[:]
            field.extend(new)
