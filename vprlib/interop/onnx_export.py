"""Exports a network to ONNX, and measures how far the export is from the network."""

import contextlib
import importlib.util
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from vprlib.interop.onnx_run import HEADER, INPUT, OUTPUT, Exported, Identity
from vprlib.model.model import PlaceModel
from vprlib.pipeline.params import UserError

AGREEMENT = 1e-4  # largest difference between PyTorch and ONNX Runtime
OPSET = 18
SCALES = (1.0, 0.75, 1.3)  # of the images in turn, if the export takes any size
TRACED = 2  # images in the traced batch; a batch of one would be traced as a constant


def check_exportable(model: PlaceModel, path: Path) -> None:
    """Pruned and fp16 networks are fine; int8 and bf16 are refused.

    The int8 operations are oneDNN's; ONNX Runtime has others, or computes them in float.
    """
    if model.own_precision:
        raise UserError(
            f"{path} is a network that computes in {model.own_precision}, but an export computes in"
            " float32: export the variant that it was made from."
        )


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


def to_onnx(
    network: nn.Module, image: np.ndarray, identity: Identity, any_size: bool = True
) -> tuple[bytes, bool]:
    """The file, and whether it takes images of any size; some networks need a fixed one."""
    for module in ("onnx", "onnxscript"):
        if importlib.util.find_spec(module) is None:
            raise UserError(f"exporting needs {module}: run `pip install -e '.[onnx]'`.")
    example = torch.from_numpy(np.stack([image] * TRACED))
    if any_size:
        with contextlib.suppress(torch.onnx.errors.OnnxExporterError):
            return _file(network, example, identity, any_size=True), True
    return _file(network, example, identity, any_size=False), False


def _file(network: nn.Module, example: torch.Tensor, identity: Identity, any_size: bool) -> bytes:
    free = torch.export.Dim.DYNAMIC
    axes = {0: free, 1: free, 2: free} if any_size else {0: free}
    with _silence(), torch.no_grad():
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
    values = (*graph.input, *graph.output, *graph.value_info)
    for part in (proto, graph, *graph.node, *graph.initializer, *values):
        part.ClearField("doc_string")
        part.ClearField("metadata_props")  # paths of this machine, among others
    entry = proto.metadata_props.add()
    entry.key, entry.value = HEADER, identity.as_json()
    return proto.SerializeToString(deterministic=True)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Without the exporter's progress and warnings."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def difference(
    exported: Exported,
    expected: Callable[[np.ndarray], np.ndarray],
    images: Sequence[np.ndarray],
    any_size: bool,
) -> float:
    """The largest difference, for single images in several sizes and for one batch."""
    scales = SCALES if any_size else SCALES[:1]
    batches = []
    for number, image in enumerate(images):
        scale = scales[number % len(scales)]
        height, width = (round(side * scale) for side in image.shape[:2])
        batches.append(np.array(Image.fromarray(image).resize((width, height)))[None])
    batches.append(np.stack([image for image in images if image.shape == images[0].shape]))
    return max(float(np.abs(exported(batch) - expected(batch)).max()) for batch in batches)


def check(found: float, images: int, path: Path) -> None:
    """Refuses an export that differs too much, or gives NaN."""
    if not found <= AGREEMENT:
        raise UserError(
            f"the export differs from PyTorch by {found:.1e} on {images} images, but at most"
            f" {AGREEMENT:.0e} is allowed, so {path} was not written: use the network itself."
        )
