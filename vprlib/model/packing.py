"""How tensors are stored in a model file: as they are, in 16 bits, or without zeros."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vprlib.model.settings import StoredPrecision

KEPT = ".kept"  # suffix of what a file holds in addition for a packed tensor


@dataclass(frozen=True)
class Form:
    """How the tensors of a network are stored in its file."""

    numbers: StoredPrecision = "float32"
    leaves_out_zeros: bool = False


PLAIN = Form()


def pack(
    tensors: Mapping[str, Tensor], form: Form
) -> tuple[dict[str, Tensor], dict[str, list[int]]]:
    """The tensors of the file, and by name the shapes of those stored without zeros."""
    packed, shapes = {}, {}
    for name, tensor in tensors.items():
        content = tensor.detach().cpu()
        if content.is_floating_point():
            content = content.to(getattr(torch, form.numbers))
        zeros = content.numel() - int(content.count_nonzero())
        saved = 8 * content.element_size() * zeros - content.numel()  # bits, less the marks
        if form.leaves_out_zeros and saved > 0:
            shapes[name] = list(content.shape)
            marks = content != 0
            packed[name + KEPT] = torch.from_numpy(np.packbits(marks.flatten().numpy()))
            content = content[marks]
        packed[name] = content
    return packed, shapes


def unpack(packed: Mapping[str, Tensor], shapes: Mapping[str, list[int]]) -> dict[str, Tensor]:
    """The tensors of a network from those of its file; packed ones in float32."""
    tensors = {}
    for name, content in packed.items():
        if name.endswith(KEPT):
            continue
        if name in shapes:
            size, bits = math.prod(shapes[name]), packed[name + KEPT].numpy()
            if size > 8 * len(bits):
                raise ValueError(f"the shape {shapes[name]} has more numbers than the file")
            whole = torch.zeros(size, dtype=content.dtype)
            whole[torch.from_numpy(np.unpackbits(bits, count=size).astype(bool))] = content
            content = whole.reshape(shapes[name])
        tensors[name] = content.float() if content.is_floating_point() else content
    return tensors
