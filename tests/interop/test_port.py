"""Checkpoints of the PyTorch port against a short twin of its network, and back."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune
from twins import checkpoint, twin

from vprlib.interop.networks import describe, read_network
from vprlib.interop.port import read_checkpoint, write_checkpoint
from vprlib.model.model import Architecture, PlaceModel
from vprlib.model.settings import PoolSettings
from vprlib.model.tensor_files import read_file
from vprlib.pipeline.params import UserError

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def saved(path: Path, content: object, **options: object) -> Path:
    torch.save(content, path, **options)
    return path


def pixels() -> Tensor:
    values = np.random.default_rng(1).integers(0, 256, (2, 64, 80, 3), dtype=np.uint8)
    return torch.from_numpy(values)


@torch.no_grad()
def twin_descriptors(model: nn.Module) -> Tensor:
    inputs = (pixels() / 255 - torch.tensor(MEAN)) / torch.tensor(STD)
    return model.pool(model.encoder(inputs.permute(0, 3, 1, 2).contiguous()))


EVERY_KIND = [
    ("alexnet", clusters, vladv2, is_parallel)
    for clusters in (16, 64)
    for vladv2 in (False, True)
    for is_parallel in (False, True)
]


@pytest.mark.parametrize(
    ("arch", "clusters", "vladv2", "is_parallel"),
    [*EVERY_KIND, ("vgg16", 16, False, False), ("vgg16", 64, True, True)],
)
def test_a_checkpoint_gives_the_descriptors_of_the_network_that_wrote_it(
    tmp_path: Path, arch: str, clusters: int, vladv2: bool, is_parallel: bool
) -> None:
    model = twin(arch, clusters, vladv2)
    path = saved(tmp_path / "checkpoint.pth.tar", checkpoint(model, is_parallel))
    found, history = read_checkpoint(path)
    a = found.architecture
    assert (a.backbone, a.clusters, a.pool.version) == (arch, clusters, "v2" if vladv2 else "v1")
    assert history == {"epoch": 12, "best_score": 0.946, "recalls": {"1": 0.841, "5": 0.946}}
    with torch.no_grad():
        torch.testing.assert_close(found(pixels()), twin_descriptors(model), atol=1e-5, rtol=0)


def test_files_of_old_pytorch_and_a_wrapped_whole_model_are_read(tmp_path: Path) -> None:
    content = checkpoint(twin("alexnet", 4, vladv2=True))
    state = {f"module.{name}": tensor for name, tensor in content["state_dict"].items()}
    content["state_dict"] = state
    path = saved(tmp_path / "c", content, _use_new_zipfile_serialization=False)
    found, history = read_checkpoint(path)
    assert torch.equal(found.pool.conv.bias, state["module.pool.conv.bias"])
    assert history["best_score"] == 0.946


def test_a_pruned_checkpoint_is_read_with_its_masks_applied(tmp_path: Path) -> None:
    model = twin("alexnet", 4, vladv2=False)
    prune.l1_unstructured(model.encoder[3], "weight", amount=0.3)
    prune.ln_structured(model.pool.conv, "weight", amount=0.5, n=1, dim=0)
    path = saved(tmp_path / "c", checkpoint(model))
    assert "encoder.3.weight_mask" in model.state_dict()
    found, _ = read_checkpoint(path)
    assert (found.pool.conv.weight == 0).float().mean() == 0.5
    with torch.no_grad():
        torch.testing.assert_close(found(pixels()), twin_descriptors(model), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "scalar", [np.float32(0.25), np.float64(0.25), np.dtype(">f8").type(0.25), np.float16(0.25)]
)
def test_numpy_scalars_become_numbers(tmp_path: Path, scalar: np.generic) -> None:
    found = read_file(saved(tmp_path / "c", {"a": scalar, "n": np.int64(-7)}))
    assert found == {"a": 0.25, "n": -7}
    assert {type(value) for value in found.values()} == {float, int}


def test_scalars_under_the_name_of_older_numpy_are_read(tmp_path: Path) -> None:
    path = saved(tmp_path / "c", {"a": np.float64(0.5)}, _use_new_zipfile_serialization=False)
    raw = path.read_bytes()
    assert b"numpy._core.multiarray\n" in raw
    path.write_bytes(raw.replace(b"numpy._core.multiarray\n", b"numpy.core.multiarray\n"))
    assert read_file(path) == {"a": 0.5}


def test_a_whole_pickled_module_is_refused_by_name(tmp_path: Path) -> None:
    path = saved(tmp_path / "c", nn.Sequential(nn.ReLU()))
    with pytest.raises(UserError, match=r"wants to run torch\.nn\.modules\.container\.Sequential"):
        read_network(path)


def test_a_numpy_object_is_no_number(tmp_path: Path) -> None:
    path = saved(tmp_path / "c", {"a": np.str_("x")})
    with pytest.raises(UserError, match="a scalar of <U1 is no number"):
        read_file(path)


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_a_truncated_checkpoint_is_a_sentence(tmp_path: Path, share: float) -> None:
    path = saved(tmp_path / "c", checkpoint(twin("alexnet", 4, vladv2=False)))
    raw = path.read_bytes()
    path.write_bytes(raw[: int(share * len(raw))])
    with pytest.raises(UserError, match=r"cannot be read: "):
        read_network(path)


def test_tensors_that_do_not_fit_are_named_with_their_shapes(tmp_path: Path) -> None:
    content = checkpoint(twin("alexnet", 4, vladv2=False))
    state = content["state_dict"]
    state["pool.centroids"] = torch.ones(4, 100)
    state["encoder.3.weight"] = torch.ones(192, 48, 5, 5)
    state["pool.extra"] = torch.ones(1)
    state["encoder.6.bias"][0] = torch.nan
    del state["encoder.0.bias"]
    with pytest.raises(UserError) as told:
        read_checkpoint(saved(tmp_path / "c", content))
    said = str(told.value)
    assert "c does not fit alexnet: it lacks encoder.0.bias; pool.extra has no place;" in said
    assert "encoder.3.weight is [192, 48, 5, 5] instead of [192, 64, 5, 5]" in said
    assert "pool.centroids is [4, 100] instead of [4, 256]" in said
    assert "encoder.6.bias is not finite" in said


@pytest.mark.parametrize(
    ("state", "problem"),
    [
        (
            {"features.0.weight": torch.ones(1)},
            r"has no encoder\.\*, but features\.0\.weight; weig",
        ),
        ({}, r"has no encoder\.\*, but no tensor at all"),
        ({"encoder.1.weight": torch.ones(1)}, "weights in the layers 1, which is neither VGG16"),
    ],
)
def test_another_network_is_told(tmp_path: Path, state: dict, problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        read_checkpoint(saved(tmp_path / "c", {"state_dict": state}))


@pytest.mark.parametrize(("pooling", "kind"), [("max", "max"), ("avg", "average")])
def test_a_pool_without_weights_is_named_by_the_flags(
    tmp_path: Path, pooling: str, kind: str
) -> None:
    state = checkpoint(twin("alexnet", 4, vladv2=False))["state_dict"]
    state = {name: t for name, t in state.items() if name.startswith("encoder.")}
    path = saved(tmp_path / "c", {"state_dict": state})
    with pytest.raises(UserError, match=r"flags\.json does not say whether its pooling is max or"):
        read_checkpoint(path)
    (tmp_path / "flags.json").write_text(json.dumps({"pooling": pooling}))
    assert read_checkpoint(path)[0].architecture.pool.kind == kind


def test_a_score_that_is_no_number_is_not_kept(tmp_path: Path) -> None:
    content = checkpoint(twin("alexnet", 4, vladv2=False), best_score=float("nan"), recalls=None)
    assert read_checkpoint(saved(tmp_path / "c", content))[1] == {"epoch": 12}


@pytest.mark.parametrize("vladv2", [False, True])
def test_export_then_import_gives_the_same_weights_byte_for_byte(
    tmp_path: Path, vladv2: bool
) -> None:
    first, history = read_checkpoint(saved(tmp_path / "c", checkpoint(twin("alexnet", 16, vladv2))))
    write_checkpoint(tmp_path / "again.pth.tar", first, history)
    again, kept = read_checkpoint(tmp_path / "again.pth.tar")
    assert kept == history and again.architecture == first.architecture
    for name, tensor in first.state_dict().items():
        assert tensor.numpy().tobytes() == again.state_dict()[name].numpy().tobytes()


# with the layers before conv5_1, and before conv5
@pytest.mark.parametrize(("arch", "tail", "vladv2"), [("vgg16", 5, False), ("alexnet", 1, True)])
def test_the_ports_own_loader_takes_an_export_and_trains_on(
    tmp_path: Path, arch: str, tail: int, vladv2: bool
) -> None:
    model = twin(arch, 4, vladv2)
    found, history = read_checkpoint(saved(tmp_path / "c", checkpoint(model)))
    write_checkpoint(tmp_path / "checkpoint.pth.tar", found, history)
    content = torch.load(tmp_path / "checkpoint.pth.tar")  # of any PyTorch
    assert (content["epoch"], content["best_score"]) == (12, 0.946)
    assert content["recalls"] == {1: 0.841, 5: 0.946} and content["parallel"] is False
    other = twin(arch, 4, vladv2)
    for layer in other.encoder[:-tail]:
        layer.requires_grad_(False)
    other.load_state_dict(content["state_dict"])  # strictly
    assert list(content["state_dict"]) == list(other.state_dict())
    torch.testing.assert_close(twin_descriptors(other), twin_descriptors(model), atol=0, rtol=0)
    optimizer = torch.optim.SGD([p for p in other.parameters() if p.requires_grad], lr=0.5)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=5, gamma=0.5)
    optimizer.load_state_dict(content["optimizer"])
    group = optimizer.param_groups[0]
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.0001, 0.9, 0.001)
    other.pool(torch.rand(1, model.pool.centroids.shape[1], 2, 2)).sum().backward()
    optimizer.step()
    schedule.step()


def test_the_options_are_written_beside_the_checkpoint(tmp_path: Path) -> None:
    found, history = read_checkpoint(saved(tmp_path / "c", checkpoint(twin("alexnet", 16, True))))
    write_checkpoint(tmp_path / "checkpoints/checkpoint.pth.tar", found, history)
    flags = json.loads((tmp_path / "checkpoints/flags.json").read_text())
    wanted = {"arch": "alexnet", "pooling": "netvlad", "num_clusters": 16, "vladv2": True}
    assert wanted.items() <= flags.items()
    assert not any("path" in name.lower() for name in flags)  # nothing of this machine


def test_a_pool_without_weights_is_read_back_by_the_flags_written(tmp_path: Path) -> None:
    model = PlaceModel(Architecture("alexnet", "conv5", PoolSettings(kind="average")))
    write_checkpoint(tmp_path / "c", model, {})
    again, history = read_checkpoint(tmp_path / "c")
    assert again.architecture == model.architecture
    assert history == {"epoch": 0, "best_score": 0.0}


def test_the_same_network_gives_the_same_bytes(tmp_path: Path) -> None:
    found, history = read_checkpoint(saved(tmp_path / "c", checkpoint(twin("alexnet", 4, True))))
    write_checkpoint(tmp_path / "a", found, history)
    write_checkpoint(tmp_path / "b", found, dict(reversed(history.items())))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    ("architecture", "problem"),
    [
        (Architecture("resnet18", "layer4", PoolSettings(), 4), "the backbone resnet18 cut at"),
        (Architecture("alexnet", "conv5", PoolSettings(kind="gem")), "the pool gem"),
        (
            Architecture("alexnet", "conv5", PoolSettings(), 4, whitening=8),
            r"a whitening of its own \(8 dimensions\)",
        ),
        (
            Architecture("alexnet", "conv5", PoolSettings(intra_normalise=False), 4),
            "NetVLAD without normalise_input and intra_normalise",
        ),
        (
            Architecture("alexnet", "conv5", PoolSettings(), 4, mean=(0.0, 0.0, 0.0)),
            "an input normalised otherwise than ImageNet's",
        ),
    ],
)
def test_what_the_port_cannot_hold_is_refused_and_not_written(
    tmp_path: Path, architecture: Architecture, problem: str
) -> None:
    with pytest.raises(UserError, match=f"was not written: the PyTorch port cannot hold {problem}"):
        write_checkpoint(tmp_path / "c", PlaceModel(architecture), {})
    assert not list(tmp_path.iterdir())


def test_what_was_found_is_said_in_a_line(tmp_path: Path) -> None:
    path = saved(tmp_path / "c", checkpoint(twin("alexnet", 16, vladv2=True)))
    assert describe(read_network(path)) == (
        "checkpoint of the PyTorch port: alexnet (conv5), NetVLAD v2, K 16, 4096 dimensions,"
        " epoch 12, best score 0.9460"
    )
