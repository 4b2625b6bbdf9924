"""Reads files of tensors, PyTorch's or safetensors, without running any code of them."""

import io
import json
import math
import pickle
import re
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import torch
from torch import Tensor

from vprlib.pipeline.params import UserError

_HARMLESS = {"torch", "numpy", "collections", "_codecs"}  # passed over, still not run


# kinds of numbers that are read, by safetensors' names
_PLAIN = {
    **{"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16},
    **{"I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8},
    **{"U8": torch.uint8, "BOOL": torch.bool},
}


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
    tensors = {str(name): tensor for name, tensor in content.items()}
    check_tensors(path, tensors)
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise UserError(f"{path}: {name} has values that are not finite: fetch the file again.")
    return tensors


def check_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Refuses tensors that are not plain arrays, or larger than what the file holds of them."""
    for name, tensor in tensors.items():
        if problem := _problem(tensor):
            raise UserError(f"{path}: {name} {problem}: save the network with plain tensors.")


def _problem(tensor: Tensor) -> str | None:
    if tensor.layout != torch.strided:
        return "is sparse"
    if tensor.is_quantized:
        return "is quantised"
    if tensor.device.type != "cpu":
        return "has no values"
    if tensor.dtype not in _PLAIN.values():
        return f"has numbers of the kind {str(tensor.dtype).removeprefix('torch.')}"
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        return f"has the shape {list(tensor.shape)}, but fewer values"
    return None


def read_safetensors(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Metadata and tensors; raises ValueError for a damaged file.

    The header is checked first: the library can crash on one that is made to confuse it.
    """
    from safetensors import safe_open

    _check_header(path)
    with safe_open(path, framework="pt") as file:
        metadata = dict(file.metadata() or {})
        return metadata, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def _check_header(path: Path) -> None:
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > size - 8:
            raise ValueError("it is truncated")
        try:
            header = json.loads(file.read(length))
        except (ValueError, RecursionError):
            raise ValueError("its header is no JSON") from None
    if not isinstance(header, dict):
        raise ValueError("its header is no mapping")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise ValueError("its metadata are no text")
    for name, entry in header.items():
        if not isinstance(entry, dict) or not _fits(entry, size - 8 - length):
            raise ValueError(f"what its header says of '{name[:50]}' cannot be")


def _fits(entry: dict[str, Any], size: int) -> bool:
    """Whether the entry of a tensor agrees with itself and with the length of the file."""
    kind, shape, place = str(entry.get("dtype")), entry.get("shape"), entry.get("data_offsets")
    if kind not in _PLAIN or not _are_counts(shape) or not _are_counts(place) or len(place) != 2:
        return False
    return place[1] <= size and place[1] - place[0] == math.prod(shape) * _PLAIN[kind].itemsize


def _are_counts(values: object) -> TypeGuard[list[int]]:
    return isinstance(values, list) and all(type(v) is int and v >= 0 for v in values)


def read_file(path: Path) -> object:
    """The whole content of a safetensors or PyTorch file, without running any code of it."""
    if not path.is_file():
        raise UserError(f"the weights file {path} is missing: put or link it there.")
    try:
        if path.suffix == ".safetensors":
            return read_safetensors(path)[1]
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as parts:
                if sum(part.file_size for part in parts.infolist()) > path.stat().st_size:
                    raise ValueError("it is compressed, which files of PyTorch are not")
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
