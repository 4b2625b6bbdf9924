"""The content of a PyTorch file, read without running any code that it asks for."""

import pickle
import pickletools
import re
import warnings
from pathlib import Path

import numpy as np
import torch

from vprlib.params import UserError


class _NumberKind:
    """Stands in for numpy's dtype while a file is read."""

    def __init__(self, code: str, *_flags: bool) -> None:
        self.code, self.order = code, "="

    def __setstate__(self, state: tuple[object, ...]) -> None:
        self.order = state[1]  # after the version of the state


def _number(kind: _NumberKind, content: bytes | str) -> float:
    """Stands in for numpy's scalar, and gives a plain number."""
    dtype = np.dtype(kind.code).newbyteorder(kind.order)
    if dtype.kind not in "biuf":
        raise pickle.UnpicklingError(f"a scalar of {dtype} is no number")
    raw = content.encode("latin1") if isinstance(content, str) else content
    return np.frombuffer(raw, dtype)[0].item()


# the port's scores are numpy scalars, under numpy's names before and after its version 2
_ALLOWED = [
    (_number, "numpy.core.multiarray.scalar"),
    (_number, "numpy._core.multiarray.scalar"),
    (_NumberKind, "numpy.dtype"),
]


def read_torch_file(path: Path) -> object:
    """Tensors, numbers, strings and containers of them, from a zip or an older file."""
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(_ALLOWED):
            warnings.simplefilter("ignore")  # of pickle protocols that torch does not write
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # unpicklers and zip readers raise anything on bad bytes
        message = " ".join(str(error).split())
        asked = re.search(r"GLOBAL ([\w.]+)", message)
        name = asked[1] if asked else _first_global(path)
        if name:
            raise UserError(
                f"{path} asks for {name}, which is code and no weight: nothing of it was run or"
                " taken; get the weights from a source that you trust."
            ) from None
        reason = message.partition("WeightsUnpickler error: ")[2] or message or repr(error)
        raise UserError(
            f"{path} cannot be read as a PyTorch file ({reason.split('. ')[0][:150]}): it is"
            " truncated or something else; fetch it again."
        ) from None


def _first_global(path: Path) -> str:
    """The first thing that a bare pickle of a newer protocol imports; '' where there is none."""
    strings: list[str] = []
    try:
        for code, argument, _ in pickletools.genops(path.read_bytes()):
            if code.name == "STACK_GLOBAL":
                return ".".join(strings[-2:])
            if code.name == "GLOBAL":
                return str(argument).replace(" ", ".")
            if isinstance(argument, str):
                strings.append(argument)
    except Exception:  # no pickle at all
        return ""
    return ""
