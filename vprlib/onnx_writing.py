"""A plain network as an ONNX file, and how far it is from the network that it was made of."""

import contextlib
import importlib.util
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from vprlib.exported import HEADER, INPUT, OUTPUT, Exported, Identity
from vprlib.params import UserError

AGREEMENT = 1e-4  # between any number of PyTorch's and of ONNX Runtime's
OPSET = 18
SCALES = (1.0, 0.75, 1.3)  # of the images in turn, where any size is taken
TRACED = 2  # images that are followed through the network: of one alone it would learn "one"


def to_onnx(network: nn.Module, image: np.ndarray, told: Identity) -> tuple[bytes, bool]:
    """The file, and whether it takes images of any size: some networks insist on one."""
    for module in ("onnx", "onnxscript"):
        if importlib.util.find_spec(module) is None:
            raise UserError(f"exporting needs {module}: run `pip install -e '.[onnx]'`.")
    example = torch.from_numpy(np.stack([image] * TRACED))
    with contextlib.suppress(torch.onnx.errors.OnnxExporterError):
        return _file(network, example, told, any_size=True), True
    return _file(network, example, told, any_size=False), False


def _file(network: nn.Module, example: torch.Tensor, told: Identity, any_size: bool) -> bytes:
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
    proto = program.model_proto
    graph = proto.graph
    values = (*graph.input, *graph.output, *graph.value_info)
    for part in (proto, graph, *graph.node, *graph.initializer, *values):
        part.ClearField("doc_string")
        part.ClearField("metadata_props")  # where PyTorch lies on this machine, among others
    entry = proto.metadata_props.add()
    entry.key, entry.value = HEADER, told.as_json()
    return proto.SerializeToString(deterministic=True)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """PyTorch's exporter tells how far it is, and warns of what is wanted."""
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
    """The largest between two numbers: image by image in several sizes, and all as one batch."""
    scales = SCALES if any_size else SCALES[:1]
    batches = [
        _scaled(image, scales[number % len(scales)])[None] for number, image in enumerate(images)
    ]
    batches.append(np.stack([image for image in images if image.shape == images[0].shape]))
    return max(float(np.abs(exported(batch) - expected(batch)).max()) for batch in batches)


def check(found: float, images: int, path: Path) -> None:
    """Refuses an export that is off, or gives what is no number."""
    if not found <= AGREEMENT:
        raise UserError(
            f"the export differs from PyTorch by {found:.1e} on {images} images, but"
            f" {AGREEMENT:.0e} is the most, so {path} was not written: use the network itself."
        )


def _scaled(image: np.ndarray, scale: float) -> np.ndarray:
    height, width = (round(side * scale) for side in image.shape[:2])
    return np.array(Image.fromarray(image).resize((width, height)))
