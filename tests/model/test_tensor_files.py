"""Files of tensors are read, and nothing in them is run."""

import argparse
import os
import pickle
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
