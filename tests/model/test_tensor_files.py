"""Files of tensors are read, and nothing in them is run."""

import argparse
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from vprlib.interop.networks import read_network
from vprlib.model.tensor_files import read_file, read_tensors
from vprlib.model.weights import BackboneSettings, starting_backbone
from vprlib.pipeline.params import UserError


class Evil:
    """Pickled, it would make a folder when read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return os.mkdir, (str(self.path),)


def read_backbone(path: Path) -> object:
    kind = BackboneSettings(name="alexnet", cut="conv5", weights=path.name)
    return starting_backbone(kind, path.parent)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize(
    ("read", "protocol"),
    [
        (read_tensors, 0),
        *product((read_tensors, read_backbone, read_network), (2, 4, 5, "torch", "old torch")),
    ],
)
def test_what_a_file_wants_to_run_is_named_and_not_run(
    tmp_path: Path, slim: str, read: Callable[[Path], object], protocol: int | str
) -> None:
    content = {"state_dict": {"0.weight": torch.ones(2)}, "more": Evil(tmp_path / "ran")}
    path = tmp_path / "w.pth"
    if isinstance(protocol, int):
        path.write_bytes(pickle.dumps(content["more"], protocol))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=protocol == "torch")
    with pytest.raises(UserError, match=r"w\.pth cannot be read: it wants to run posix\.mkdir, "):
        read(path)
    assert not (tmp_path / "ran").exists()


def test_numpy_numbers_beside_the_tensors_do_no_harm(tmp_path: Path) -> None:
    scores = {"best_score": np.float64(0.5), "recalls": {1: np.float32(0.25)}, "n": np.int64(3)}
    torch.save({"state_dict": {"a": torch.ones(2)}, **scores}, tmp_path / "w.pth")
    found = read_file(tmp_path / "w.pth")
    assert {name: found[name] for name in scores} == scores
    assert torch.equal(read_tensors(tmp_path / "w.pth")["a"], torch.ones(2))


@pytest.mark.parametrize("key", ["state_dict", "model"])
def test_tensors_are_found_inside_a_checkpoint(tmp_path: Path, key: str) -> None:
    torch.save({"epoch": 3, key: {"a": torch.ones(2)}}, tmp_path / "w.pth")
    assert list(read_tensors(tmp_path / "w.pth")) == ["a"]


def test_objects_of_other_programs_are_named(tmp_path: Path) -> None:
    torch.save({"options": argparse.Namespace(k=16)}, tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"it wants to run argparse\.Namespace, and no code"):
        read_file(tmp_path / "w.pth")


def test_a_file_that_was_cut_off_is_said_to_be(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(3000)}, tmp_path / "w.pth")
    content = (tmp_path / "w.pth").read_bytes()
    (tmp_path / "w.pth").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"w\.pth cannot be read: it is truncated\.$"):
        read_file(tmp_path / "w.pth")


def test_another_file_is_no_pytorch_file(tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_text("<html>not found</html>")
    with pytest.raises(UserError, match=r"w\.pth cannot be read: it is no PyTorch file\.$"):
        read_file(tmp_path / "w.pth")


def meta() -> torch.Tensor:
    return torch.empty(3, 2, device="meta")


@pytest.mark.filterwarnings("ignore:.*quantiz")
@pytest.mark.parametrize(
    ("tensor", "problem"),
    [
        (torch.eye(3).to_sparse(), "is sparse"),
        (torch.eye(3).to_sparse_csr(), "is sparse"),
        (torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8), "is quantised"),
        (meta(), "has no values"),
        (torch.ones(3).to(torch.float8_e4m3fn), "has numbers of the kind float8_e4m3fn"),
        (torch.ones(3, dtype=torch.complex64), "has numbers of the kind complex64"),
        (torch.ones(1).expand(2**36, 3), r"has the shape \[68719476736, 3\], but fewer values"),
    ],
)
def test_a_tensor_that_is_no_plain_array_is_refused(
    tmp_path: Path, tensor: torch.Tensor, problem: str
) -> None:
    torch.save({"a": torch.ones(1), "b": tensor}, tmp_path / "w.pth")
    with pytest.raises(UserError, match=rf"w.pth: b {problem}: save the network with plain"):
        read_tensors(tmp_path / "w.pth")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(tmp_path: Path, value: float) -> None:
    torch.save({"a": torch.tensor([1.0, value])}, tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"w.pth: a has values that are not finite"):
        read_tensors(tmp_path / "w.pth")


def test_a_file_that_unpacks_to_more_than_its_length_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(2**22)}, tmp_path / "w.pth")
    with (
        zipfile.ZipFile(tmp_path / "w.pth") as whole,
        zipfile.ZipFile(tmp_path / "small.pth", "w", zipfile.ZIP_DEFLATED) as small,
    ):
        for part in whole.infolist():
            small.writestr(part.filename, whole.read(part))
    with pytest.raises(UserError, match=r"cannot be read: it is compressed, which files of PyT"):
        read_tensors(tmp_path / "small.pth")


A = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ([1], "its header is no mapping"),
        ({"a": 3}, "what its header says of 'a' cannot be"),
        ({"a": {k: v for k, v in A.items() if k != "shape"}}, "what its header says of 'a'"),
        ({"a": A | {"data_offsets": [0]}}, "what its header says of 'a'"),
        ({"a": A | {"data_offsets": [8, 16]}}, "what its header says of 'a'"),
        ({"a": A | {"data_offsets": [0, 2**70]}}, "what its header says of 'a'"),
        ({"a": A | {"shape": [2**40]}}, "what its header says of 'a'"),
        ({"a": A | {"shape": [-2]}}, "what its header says of 'a'"),
        ({"a": A | {"shape": [True, 2]}}, "what its header says of 'a'"),
        ({"a": A | {"shape": 2**64}}, "what its header says of 'a'"),
        ({"a": A | {"dtype": "F8_E4M3"}}, "what its header says of 'a'"),
        ({"a": A | {"dtype": ["F32"]}}, "what its header says of 'a'"),
        ({"a": A, "__metadata__": [1]}, "its metadata are no text"),
        ({"a": A, "__metadata__": {"header": 1}}, "its metadata are no text"),
        ("[" * 99_999, "its header is no JSON"),
        ("{", "its header is no JSON"),
    ],
)
def test_a_safetensors_header_that_cannot_be_is_refused(
    tmp_path: Path, header: object, reason: str
) -> None:
    text = header if isinstance(header, str) else json.dumps(header)
    content = struct.pack("<Q", len(text)) + text.encode() + bytes(8)
    (tmp_path / "w.safetensors").write_bytes(content)
    with pytest.raises(UserError, match=f"cannot be read: {reason}"):
        read_tensors(tmp_path / "w.safetensors")


@pytest.mark.parametrize("content", [b"", b"123", struct.pack("<Q", 2**63) + b"{}"])
def test_a_safetensors_file_that_breaks_off_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w.safetensors").write_bytes(content)
    with pytest.raises(UserError, match="cannot be read: it is truncated"):
        read_tensors(tmp_path / "w.safetensors")
