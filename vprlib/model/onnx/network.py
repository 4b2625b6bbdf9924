"""A network in ONNX from anywhere, image to descriptor, which can only be described with."""

from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vprlib.model.onnx.session import open_session, reason
from vprlib.model.onnx.settings import OnnxInput
from vprlib.pipeline.params import UserError

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

KINDS: dict[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(uint8)": np.uint8,
}
TRIED = (320, 240)  # width and height of the first image of a network that takes any size


class OnnxNetwork(nn.Module):
    """Runs one image at a time, so that a descriptor does not depend on the images beside it."""

    is_exact_alone = True
    precision: Literal["float32"] = "float32"  # what is left to PyTorch
    own_precision = "onnx"
    whitening = None
    device = torch.device("cpu")

    def __init__(self, content: bytes, takes: OnnxInput, called: str) -> None:
        """Refuses what is no network of this kind; `called` is what messages call it."""
        super().__init__()
        self.content, self.takes, self.called = content, takes, called
        try:
            self._session = open_session(content, torch.get_num_threads(), called)
        except ValueError as error:
            raise UserError(
                f"{called} is not a network that ONNX Runtime can run ({error}): export it to one"
                " ONNX file, with its weights inside."
            ) from None
        self._input, self._kind = _input(self._session, takes, called)
        self._output = _output(self._session, takes.output, called)
        width, height = takes.size or TRIED
        noise = np.random.default_rng(1).integers(0, 256, (1, height, width, 3), np.uint8)
        self.dim = self._raw(torch.from_numpy(noise)).shape[1]

    @property
    def versions(self) -> dict[str, str]:
        """What its rounding depends on besides the processor."""
        import onnxruntime

        return {"onnxruntime": onnxruntime.__version__}

    def __str__(self) -> str:
        size = f"{self.takes.size[0]}×{self.takes.size[1]}" if self.takes.size else "any size"
        return f"network in ONNX: images of {size}, {self.dim} dimensions"

    def forward(self, pixels: Tensor) -> Tensor:
        """Images uint8 [B, H, W, 3] to unit vectors [B, dim]."""
        device = pixels.device
        with torch.autocast(device.type, enabled=False):
            found = [self._raw(image[None].cpu()) for image in pixels]
            return F.normalize(torch.from_numpy(np.concatenate(found)), dim=1).to(device)

    def _raw(self, image: Tensor) -> np.ndarray:
        """What the network gives for one image uint8 [1, H, W, 3], as float32 [1, D]."""
        given = self._given(image)
        width, height = image.shape[2], image.shape[1]
        try:
            found = self._session.run([self._output], {self._input: given})[0]
        except Exception as error:  # ONNX Runtime's errors have no base class of their own
            raise UserError(
                f"{self.called} cannot describe an image of {width}×{height} pixels, given as"
                f" {list(given.shape)} ({reason(error)}): check layout and size in `input`."
            ) from None
        found = found.reshape(found.shape[:2]) if found.shape[2:] == (1, 1) else found
        if found.ndim != 2 or len(found) != 1 or not np.issubdtype(found.dtype, np.floating):
            raise UserError(
                f"{self.called} gives {found.dtype} of shape {list(found.shape)} for one image, but"
                " a descriptor should be floats [1, D]: export the network with its pooling, or"
                " name the right output in `input`."
            )
        if not np.isfinite(found).all():
            raise UserError(
                f"{self.called} gives numbers that are not finite for an image of {width}×{height}"
                " pixels: check mean and std in `input`."
            )
        return found.astype(np.float32)

    def _given(self, image: Tensor) -> np.ndarray:
        """The image in the form that the network takes."""
        takes, x = self.takes, image.permute(0, 3, 1, 2)
        if takes.colours == "bgr":
            x = x.flip(1)
        is_other = takes.size is not None and (x.shape[3], x.shape[2]) != tuple(takes.size)
        if is_other or self._kind is not np.uint8:
            x = x.float()
        if takes.size is not None and is_other:
            width, height = takes.size
            x = F.interpolate(x, (height, width), mode=takes.resample, antialias=True)
        if takes.mean is not None and takes.std is not None:
            mean, std = (torch.tensor(v)[:, None, None] for v in (takes.mean, takes.std))
            x = (x / 255 - mean) / std
        if is_other and self._kind is np.uint8:
            x = x.round().clamp(0, 255)
        x = x if takes.layout == "nchw" else x.permute(0, 2, 3, 1)
        return np.ascontiguousarray(x.numpy(), self._kind)


def _input(
    session: "InferenceSession", takes: OnnxInput, called: str
) -> tuple[str, type[np.generic]]:
    """The name of the input and its kind of number."""
    inputs = session.get_inputs()
    shape = inputs[0].shape if inputs else []
    if len(inputs) != 1 or len(shape) != 4:
        told = ", ".join(f"{i.name} {list(i.shape)}" for i in inputs) or "nothing"
        raise UserError(f"{called} takes {told}, but should take one batch of images.")
    kind = KINDS.get(inputs[0].type)
    if kind is None:
        known = ", ".join(name[7:-1] for name in KINDS)
        raise UserError(f"{called} takes {inputs[0].type}, but should take one of {known}.")
    if kind is np.uint8 and takes.mean is not None:
        raise UserError(f"{called} takes whole numbers: set mean and std of its `input` to null.")
    of_colours = {"nchw": shape[1], "nhwc": shape[3]}
    (other,) = (n for layout, n in of_colours.items() if layout != takes.layout)
    own = of_colours[takes.layout]
    if own != 3 and (isinstance(own, int) or other == 3):
        raise UserError(
            f"{called} takes {list(shape)}, which is not {takes.layout} with three colours: correct"
            " `layout` of its `input`."
        )
    height, width = shape[2:] if takes.layout == "nchw" else shape[1:3]
    if isinstance(shape[0], int) and shape[0] != 1:
        raise UserError(
            f"{called} takes {shape[0]} images at a time, but should take one or any number: export"
            " it with a batch of 1."
        )
    wanted = takes.size or (None, None)
    for fixed, given in zip((width, height), wanted, strict=True):
        if isinstance(fixed, int) and fixed != given:
            raise UserError(
                f"{called} takes images with a width of {width} and a height of {height}, but"
                f" `size` of its `input` is {list(takes.size) if takes.size else 'null'}: state"
                " [width, height]."
            )
    return inputs[0].name, kind


def _output(session: "InferenceSession", wanted: str | None, called: str) -> str:
    names = [output.name for output in session.get_outputs()]
    if wanted is None and len(names) > 1:
        raise UserError(
            f"{called} gives {', '.join(names)}: name one of them as `output` of its `input`."
        )
    if wanted is not None and wanted not in names:
        raise UserError(f"{called} gives {', '.join(names)}, but not '{wanted}'.")
    return wanted or names[0]
