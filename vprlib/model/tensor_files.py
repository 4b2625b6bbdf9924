"""Reads files of tensors, PyTorch's or safetensors, without running any code of them."""

import io
import pickle
import re
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vprlib.pipeline.params import UserError

_HARMLESS = {"torch", "numpy", "collections", "_codecs"}  # passed over, still not run


class _NumberKind:
    """Replaces numpy's dtype while a file is read."""

    def __init__(self, code: str, *_flags: bool) -> None:
        self.dtype = np.dtype(code)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.dtype = self.dtype.newbyteorder(state[1])  # after the version of the state


def _number(kind: _NumberKind, content: bytes | str) -> float:
    """Replaces numpy's scalar and returns a plain number."""
    if kind.dtype.kind not in "biuf":
        raise pickle.UnpicklingError(f"a scalar of {kind.dtype} is no number")
    raw = content.encode("latin1") if isinstance(content, str) else content
    return np.frombuffer(raw, kind.dtype)[0].item()


# scores beside the tensors are numpy scalars, under numpy's names before and after its version 2
_ALLOWED: list[Callable[..., object] | tuple[Callable[..., object], str]] = [
    (_number, "numpy.core.multiarray.scalar"),
    (_number, "numpy._core.multiarray.scalar"),
    (_NumberKind, "numpy.dtype"),
    *((_NumberKind, f"numpy.dtypes.{name}") for name in ("Float64DType", "Float32DType")),
]


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors by name of a safetensors or PyTorch file, or of the checkpoint in it."""
    content = read_file(path)
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(isinstance(v, Tensor) for v in content.values()):
        raise UserError(f"the weights file {path} does not hold tensors by name.")
    return dict(content)


def read_file(path: Path) -> object:
    """The whole content of a safetensors or PyTorch file, without running any code of it."""
    if not path.is_file():
        raise UserError(f"the weights file {path} is missing: put or link it there.")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        with warnings.catch_warnings(), torch.serialization.safe_globals(_ALLOWED):
            warnings.simplefilter("ignore")  # of pickle protocols that torch does not write
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # unpicklers and zip readers raise anything on bad bytes
        raise UserError(
            f"the weights file {path} cannot be read: {_reason(error, path)}."
        ) from None


def _reason(error: Exception, path: Path) -> str:
    told = re.search(r"GLOBAL ([\w.]+)", str(error))  # what PyTorch refused to run
    named = told[1].rstrip(".") if told else _named_for_running(path)
    if named:
        return f"it wants to run {named}, and no code of a file is ever run; take tensors alone"
    if path.read_bytes()[:2] == b"PK" and not zipfile.is_zipfile(path):
        return "it is truncated"
    reason = str(error).rpartition("WeightsUnpickler error: ")[2].strip()
    if reason.startswith("Unsupported operand"):
        return "it is no PyTorch file"
    return (reason or type(error).__name__).split("\n")[0].split(". ")[0].rstrip(".")


class _NamedError(Exception):
    """Its text names what a pickle wants to run."""


class _Inert(dict):
    """Replaces harmless objects while a pickle is scanned."""

    def __init__(self, *_: object) -> None:
        super().__init__()

    def __setstate__(self, state: object) -> None:
        pass


class _Looking(pickle.Unpickler):
    """Scans a pickle without running any of its code."""

    def find_class(self, module: str, name: str) -> type[_Inert]:
        if module.split(".")[0] not in _HARMLESS:
            raise _NamedError(f"{module}.{name}")
        return _Inert

    def persistent_load(self, key: object) -> None:
        return None


def _named_for_running(path: Path) -> str | None:
    """The first foreign module.name in a bare pickle, or None."""
    try:
        _Looking(io.BytesIO(path.read_bytes())).load()
    except _NamedError as found:
        return str(found)
    except Exception:  # it is no pickle, or breaks off
        return None
    return None
