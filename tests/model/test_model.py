"""The whole network, and the file that rebuilds it by itself."""

import json
import resource
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from vprlib.model.model import Architecture, PlaceModel, read_model, write_model
from vprlib.model.settings import PoolSettings
from vprlib.pipeline.artifacts import write_tensors
from vprlib.pipeline.params import UserError

CUTS = {"alexnet": "conv5", "resnet18": "layer4"}
MEAN = (0.1, 0.2, 0.3)


def a_model(name: str, version: str = "v2") -> PlaceModel:
    torch.manual_seed(1)
    model = PlaceModel(Architecture(name, CUTS[name], PoolSettings(version=version), 4, mean=MEAN))
    torch.nn.init.normal_(model.pool.centroids)
    return model


def pixels(count: int = 2) -> Tensor:
    values = np.random.default_rng(1).integers(0, 256, (count, 48, 64, 3), dtype=np.uint8)
    return torch.from_numpy(values)


def test_images_become_unit_vectors(slim: str) -> None:
    model = a_model(slim)
    with torch.no_grad():
        vectors = model(pixels())
    assert vectors.shape == (2, model.dim) == (2, 4 * 8)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(2))


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_model_reads_back_as_it_was_written(tmp_path: Path, slim: str, version: str) -> None:
    model = a_model(slim, version)
    write_model(tmp_path / "m.safetensors", model, {"recipe": "city"})
    found = read_model(tmp_path / "m.safetensors")
    assert found.architecture == model.architecture
    assert not found.training
    assert found.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(t, model.state_dict()[name]) for name, t in found.state_dict().items())
    with torch.no_grad():
        assert torch.equal(found(pixels()), model(pixels()))


def test_a_real_backbone_with_statistics_reads_back(tmp_path: Path) -> None:
    model = a_model("resnet18")
    model.backbone.bn1.running_mean.fill_(0.25)
    write_model(tmp_path / "m.safetensors", model, {})
    found = read_model(tmp_path / "m.safetensors")
    assert all(torch.equal(t, model.state_dict()[name]) for name, t in found.state_dict().items())


def test_same_model_gives_the_same_bytes(tmp_path: Path, slim: str) -> None:
    history = {"recipe": "city", "alpha": 3.5, "best_epoch": 2}
    for name in ("a", "b"):
        write_model(tmp_path / name, a_model(slim), history)
        history = dict(reversed(history.items()))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_header_tells_the_history(tmp_path: Path, slim: str) -> None:
    write_model(tmp_path / "m", a_model(slim), {"alpha": 3.5})
    with safe_open(tmp_path / "m", framework="pt") as file:
        header = json.loads(file.metadata()["header"])
    assert header["history"] == {"alpha": 3.5}
    assert (header["backbone"], header["clusters"], header["pool"]["version"]) == (
        "alexnet",
        4,
        "v2",
    )


@pytest.mark.parametrize("content", [b"", b"not a model at all", bytes(64)])
def test_a_file_of_another_kind_is_a_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m").write_bytes(content)
    with pytest.raises(UserError, match=r"is not a model file of vprlib .*: make it again"):
        read_model(tmp_path / "m")


def test_a_missing_file_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a model file of vprlib"):
        read_model(tmp_path / "m")


def test_tensors_of_another_program_are_a_sentence(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"w": torch.ones(2)}, tmp_path / "m")
    with pytest.raises(UserError, match="is not a 'vprlib model 2' file: make it again"):
        read_model(tmp_path / "m")


@pytest.mark.parametrize(
    "change",
    [
        {"clusters": 2_000_000},
        {"clusters": -1},
        {"clusters": "many"},
        {"whitening": 2_000_000},
        {"channels": 2_000_000},
        {"widths": {"0": [3, 2_000_000, 1]}},
        {"widths": {"nowhere": [3, 8, 1]}},
        {"widths": 3},
        {"pool": None},
        {"backbone": "nonet"},
        {"backbone": ["alexnet"]},
        {"mean": 3},
        {"precision": "float8"},
        {"shapes": {"pool.centroids": [2**40]}},
    ],
)
def test_a_header_that_is_not_of_its_tensors_is_refused(
    tmp_path: Path, slim: str, change: dict[str, object]
) -> None:
    write_model(tmp_path / "m.safetensors", a_model(slim), {})
    with safe_open(tmp_path / "m.safetensors", "pt") as file:
        header = json.loads(file.metadata()["header"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    write_tensors(tmp_path / "m.safetensors", tensors, header | change)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError):
        read_model(tmp_path / "m.safetensors")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**19  # KiB
