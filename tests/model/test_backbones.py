"""Backbones: cut before the last ReLU, weights from a seed or a file, frozen statistics."""

from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

from vprlib.model import torchvision_chain
from vprlib.model.backbones import (
    Normaliser,
    calibrate,
    channels,
    empty_backbone,
    fill_at_random,
    fingerprint,
    layer_names,
    statistics,
    trainable_children,
)
from vprlib.model.weights import BackboneSettings, is_uncalibrated, starting_backbone
from vprlib.pipeline.params import UserError

ALEXNET = BackboneSettings(name="alexnet", cut="conv5", weights="w.pth")
CUTS = {"alexnet": "conv5", "vgg16": "conv5_3", "resnet18": "layer4"}
Tensors = dict[str, Tensor]


def images(count: int, size: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 3, size, size, generator=generator)


def random_of(name: str, seed: int = 1) -> nn.Sequential:
    kind = BackboneSettings(name=name, cut=CUTS[name], weights="random", seed=seed)
    return starting_backbone(kind, Path("nowhere"))


@pytest.fixture
def tensors(slim: str) -> Tensors:
    return {name: t.clone() for name, t in random_of(slim, 5).state_dict().items()}


@pytest.mark.parametrize(
    ("name", "names", "size"),
    [
        ("alexnet", ["conv1", "conv2", "conv3", "conv4", "conv5"], (3, 3)),
        (
            "resnet18",
            ["conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"],
            (2, 2),
        ),
    ],
)
def test_a_network_ends_with_its_last_convolution(
    name: str, names: list[str], size: tuple[int, int]
) -> None:
    assert layer_names(name, CUTS[name]) == names
    network = random_of(name)
    with torch.no_grad():
        found = network(images(2, 64) - 0.5)
    assert found.shape == (2, channels(name, CUTS[name]), *size)
    assert (found.min() < 0) == (name == "alexnet")  # a residual block ends with its own ReLU


def test_vgg16_has_thirteen_named_convolutions_and_ends_before_its_relu() -> None:
    children = dict(torchvision_chain.cut_network("vgg16", "conv5_3").named_children())
    names = layer_names("vgg16", "conv5_3")
    assert names[0] == "conv1_1"
    assert names[-3:] == ["conv5_1", "conv5_2", "conv5_3"]
    convolutions = [n for n, child in children.items() if isinstance(child, nn.Conv2d)]
    assert convolutions == [torchvision_chain.aliases("vgg16")[name] for name in names]
    assert len(convolutions) == 13
    assert list(children)[-1] == "28"
    assert children["28"].out_channels == channels("vgg16", "conv5_3") == 512


def test_every_trainable_layer_begins_with_a_convolution_and_the_rest_follows(slim: str) -> None:
    assert trainable_children(slim, "conv5", "conv5") == {"10"}
    assert trainable_children(slim, "conv5", "conv4") == {"8", "9", "10"}
    assert trainable_children(slim, "conv5", "conv1") == {str(n) for n in range(11)}
    assert trainable_children(slim, "conv5", "pool") == set()


def test_layers_can_be_named_as_the_children_themselves(slim: str) -> None:
    assert trainable_children(slim, "conv5", "8") == {"8", "9", "10"}
    assert trainable_children("resnet18", "layer4", "layer3") == {"layer3", "layer4"}
    assert trainable_children("resnet18", "layer3", "bn1") == {
        *("bn1", "relu", "maxpool", "layer1", "layer2", "layer3")
    }


@pytest.mark.parametrize(("cut", "layer"), [("conv4", "conv5"), ("conv5", "conv6")])
def test_a_layer_behind_the_cut_does_not_exist(slim: str, cut: str, layer: str) -> None:
    with pytest.raises(
        UserError, match=rf"'{layer}', but alexnet has conv1, .*, {cut} and pool\.$"
    ):
        trainable_children(slim, cut, layer)


def test_pixels_become_the_input_that_torchvision_gives() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (2, 5, 4, 3), dtype=np.uint8)
    twin = torchvision.transforms.Compose(
        [
            torchvision.transforms.ToTensor(),
            torchvision.transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    expected = torch.stack([twin(image) for image in pixels])
    torch.testing.assert_close(Normaliser()(torch.from_numpy(pixels)), expected)


@pytest.mark.parametrize("name", ["slim", "resnet18"])
def test_random_weights_come_from_their_seed_alone(name: str, slim: str) -> None:
    name = slim if name == "slim" else name
    torch.manual_seed(1)
    first = random_of(name, 3)
    torch.manual_seed(2)
    second = random_of(name, 3)
    assert fingerprint(first) == fingerprint(second) != fingerprint(random_of(name, 4))


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "convnext_tiny"])
def test_the_global_generator_is_left_alone(name: str) -> None:
    before = torch.get_rng_state()
    network = empty_backbone(name, "layer1" if name == "resnet18" else "3")
    fill_at_random(network, 3)
    assert torch.equal(torch.get_rng_state(), before)


def test_layers_that_are_no_convolutions_are_random_from_the_seed_too() -> None:
    kind = BackboneSettings(name="convnext_tiny", cut="1", weights="random", seed=1)
    first, again = (starting_backbone(kind, Path()).state_dict() for _ in "ab")
    other = starting_backbone(kind.model_copy(update={"seed": 2}), Path()).state_dict()
    assert all(torch.equal(t, again[name]) for name, t in first.items())
    linear = "1.0.block.3.weight"
    assert first[linear].std() > 0
    assert not torch.equal(first[linear], other[linear])
    assert (first["1.0.layer_scale"] == 1).all()


def test_random_weights_are_the_ones_of_old() -> None:
    assert fingerprint(random_of("alexnet", 1)) == "4d23360ce385e84f"
    assert fingerprint(random_of("resnet18", 1)) == "c123ae73df65ec44"


def test_random_weights_are_spread_as_he_says(slim: str) -> None:
    layer = random_of(slim)[3]  # 3×3, eight channels out
    assert layer.weight.std().item() == pytest.approx((2 / (9 * 8)) ** 0.5, rel=0.1)
    assert layer.bias.abs().max() == 0


def assert_loaded(folder: Path, tensors: Tensors, file: str = "w.pth") -> None:
    kind = BackboneSettings(name="alexnet", cut="conv5", weights=file)
    found = starting_backbone(kind, folder).state_dict()
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)


def test_weights_are_found_inside_a_checkpoint(tmp_path: Path, tensors: Tensors) -> None:
    torch.save({"state_dict": tensors, "epoch": 3}, tmp_path / "w.pth")
    assert_loaded(tmp_path, tensors)


def test_weights_are_read_from_safetensors(tmp_path: Path, tensors: Tensors) -> None:
    save_file({f"features.{name}": t for name, t in tensors.items()}, tmp_path / "w.safetensors")
    assert_loaded(tmp_path, tensors, "w.safetensors")


def test_a_whole_torchvision_model_gives_the_backbone_its_weights(tmp_path: Path) -> None:
    whole = torchvision.models.resnet18(weights=None)
    whole.layer4[1].bn2.running_mean.fill_(0.5)
    torch.save(whole.state_dict(), tmp_path / "w.pth")
    kind = BackboneSettings(name="resnet18", cut="layer4", weights="w.pth")
    found = starting_backbone(kind, tmp_path).state_dict()
    assert all(torch.equal(t, whole.state_dict()[name]) for name, t in found.items())
    assert not any(name.startswith("fc") for name in found)


def test_a_tensor_of_another_shape_is_named_with_both_shapes(
    tmp_path: Path, tensors: Tensors
) -> None:
    torch.save(tensors | {"10.weight": torch.ones(8, 4, 3, 3)}, tmp_path / "w.pth")
    sentence = (
        r"'w\.pth' do not fit alexnet: 10\.weight is \[8, 4, 3, 3\] instead of \[8, 8, 3, 3\]\.$"
    )
    with pytest.raises(UserError, match=sentence):
        starting_backbone(ALEXNET, tmp_path)


def test_missing_tensors_are_named(tmp_path: Path, tensors: Tensors) -> None:
    del tensors["0.weight"], tensors["3.bias"]
    torch.save(tensors, tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"do not fit alexnet: lacks 0\.weight; lacks 3\.bias\.$"):
        starting_backbone(ALEXNET, tmp_path)


@pytest.mark.parametrize("file", ["w.pth", "w.safetensors"])
@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"\x80\x02garbage", bytes(99)])
def test_a_file_of_another_kind_is_one_sentence(
    tmp_path: Path, slim: str, file: str, content: bytes
) -> None:
    (tmp_path / file).write_bytes(content)
    with pytest.raises(UserError, match=rf"^the weights file .*{file} cannot be read: .*\.$"):
        starting_backbone(BackboneSettings(name="alexnet", cut="conv5", weights=file), tmp_path)


@pytest.mark.parametrize("content", [[1, 2], {"a": 3}, torch.ones(3)])
def test_a_file_without_named_tensors_is_one_sentence(
    tmp_path: Path, slim: str, content: object
) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(UserError, match="does not hold tensors by name"):
        starting_backbone(ALEXNET, tmp_path)


def test_a_missing_file_is_one_sentence(tmp_path: Path, slim: str) -> None:
    with pytest.raises(UserError, match=r"the weights file .*w\.pth is missing: put or link it"):
        starting_backbone(ALEXNET, tmp_path)
    with pytest.raises(UserError, match="is missing"):  # a folder is no file
        starting_backbone(BackboneSettings(name="alexnet", cut="conv5", weights="."), tmp_path)


def test_without_a_network_imagenet_weights_are_one_sentence_with_the_place(
    tmp_path: Path, slim: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(self: object, *args: object, **kwargs: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr(torchvision.models.AlexNet_Weights, "get_state_dict", unreachable)
    sentence = rf"of alexnet could not be fetched from https://.* and put it at {tmp_path}/alexnet-"
    with pytest.raises(UserError, match=sentence):
        starting_backbone(
            BackboneSettings(name="alexnet", cut="conv5", weights="imagenet"), tmp_path
        )


def test_imagenet_weights_that_lie_there_are_not_fetched(
    tmp_path: Path, tensors: Tensors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torchvision.models.AlexNet_Weights, "get_state_dict", None)
    url = torchvision.models.AlexNet_Weights.IMAGENET1K_V1.url
    torch.save(tensors, tmp_path / url.rpartition("/")[2])
    assert_loaded(tmp_path, tensors, "imagenet")


def test_running_statistics_are_frozen() -> None:
    network = random_of("resnet18")
    before = {name: t.clone() for name, t in statistics(network).items()}
    network(images(4, 32))
    assert len(before) == 40
    assert all(torch.equal(t, before[name]) for name, t in statistics(network).items())


def test_only_random_weights_with_batch_normalisation_want_calibration(slim: str) -> None:
    stored = BackboneSettings(name="resnet18", cut="layer4", weights="w.pth")
    thrown = BackboneSettings(name="resnet18", cut="layer4", weights="random")
    network = random_of("resnet18")
    assert is_uncalibrated(thrown, network)
    assert not is_uncalibrated(stored, network)
    assert not is_uncalibrated(thrown.model_copy(update={"name": slim}), random_of(slim))


def test_calibrated_statistics_are_the_mean_over_the_batches() -> None:
    network = random_of("resnet18")
    batches = [images(3, 32, seed) + seed for seed in range(4)]
    calibrate(network, iter(batches))
    with torch.no_grad():
        entering = [network.conv1(batch) for batch in batches]
    mean = torch.stack([e.mean(dim=(0, 2, 3)) for e in entering]).mean(dim=0)
    variance = torch.stack([e.var(dim=(0, 2, 3)) for e in entering]).mean(dim=0)
    torch.testing.assert_close(network.bn1.running_mean, mean, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(network.bn1.running_var, variance, atol=1e-5, rtol=1e-5)


def test_calibration_leaves_weights_and_frozen_mode_as_they_were() -> None:
    network = random_of("resnet18")
    before = fingerprint(network)
    calibrate(network, [images(3, 32)])
    assert fingerprint(network) == before
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(not norm.training and norm.momentum == 0.1 for norm in norms)


def test_a_fingerprint_changes_with_any_weight_and_no_statistic() -> None:
    network = random_of("resnet18")
    before = fingerprint(network)
    network.bn1.running_mean.fill_(3)
    assert fingerprint(network) == before
    with torch.no_grad():
        network.layer4[1].bn2.bias[7] += 1e-6
    assert fingerprint(network) != before
