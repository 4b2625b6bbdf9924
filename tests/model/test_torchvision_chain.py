"""torchvision's networks as chains: a cut gives what the whole network has at that place."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from vprlib.model.torchvision_chain import (
    aliases,
    channels,
    feature_maps,
    kept_children,
    whole_network,
)
from vprlib.model.weights import BackboneSettings, starting_backbone
from vprlib.pipeline.params import UserError

# a cut inside and the last one of each way of building a network
CUTS = [
    ("squeezenet1_1", "fire5", "7"),
    ("squeezenet1_1", "fire9", "12"),
    ("resnet18", "layer3", "layer3"),
    ("resnet18", "layer4", "layer4"),
    ("mobilenet_v3_small", "12", "12"),
    ("efficientnet_b0", "8", "8"),
    ("densenet121", "denseblock2", "denseblock2"),
    ("convnext_tiny", "3", "3"),
    ("shufflenet_v2_x0_5", "conv5", "conv5"),
    ("mnasnet0_5", "layers", "layers"),
    ("regnet_y_400mf", "trunk_output", "trunk_output"),
    ("googlenet", "inception5b", "inception5b"),
]


def image(height: int = 96, width: int = 128) -> Tensor:
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(1))


def whole(name: str) -> nn.Module:
    """torchvision's network as it is made with ImageNet weights, here with random ones."""
    torch.manual_seed(1)
    more = {"googlenet": {"transform_input": True, "init_weights": False}}
    return torchvision.models.get_model(name, weights=None, **more.get(name, {})).eval()


@pytest.mark.parametrize(("name", "cut", "child"), CUTS)
def test_a_cut_network_gives_what_the_whole_one_has_there(
    tmp_path: Path, name: str, cut: str, child: str
) -> None:
    network, seen = whole(name), []
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
    torch.save(network.state_dict(), tmp_path / "w.pth")
    inside = getattr(network, "features", network).get_submodule(child)
    inside.register_forward_hook(lambda _, __, output: seen.append(output.clone()))
    kind = BackboneSettings(name=name, cut=cut, weights="w.pth")
    with torch.no_grad():
        network(image())
        found = starting_backbone(kind, tmp_path)(image())
    torch.testing.assert_close(found, seen[0])
    assert found.abs().max() > 1e-3
    assert found.shape[1] == feature_maps(name)[child]
    assert kept_children(name, cut)[-1] == child


def test_the_usual_networks_have_their_usual_widths() -> None:
    wanted = {
        ("resnet50", "layer4"): 2048,
        ("resnet101", "layer3"): 1024,
        ("mobilenet_v3_large", "16"): 960,
        ("mobilenet_v3_small", "12"): 576,
        ("inception_v3", "Mixed_7c"): 2048,
        ("vgg16_bn", "conv5_3"): 512,
    }
    assert {(name, cut): channels(name, cut) for name, cut in wanted} == wanted


def test_friendly_names_are_those_of_the_papers() -> None:
    assert aliases("alexnet") == {
        "conv1": "0",
        "conv2": "3",
        "conv3": "6",
        "conv4": "8",
        "conv5": "10",
    }
    vgg16 = aliases("vgg16")
    assert len(vgg16) == 13
    assert (vgg16["conv1_1"], vgg16["conv3_2"], vgg16["conv5_3"]) == ("0", "12", "28")
    for name, second in (("squeezenet1_0", "3"), ("squeezenet1_1", "3")):
        fires = aliases(name)
        assert list(fires) == [f"fire{n}" for n in range(2, 10)]
        assert (fires["fire2"], fires["fire9"]) == (second, "12")
    assert aliases("resnet18") == {}


@pytest.mark.parametrize("name", ["vit_b_16", "swin_t", "swin_v2_t", "maxvit_t"])
def test_a_transformer_is_refused(name: str) -> None:
    sentence = rf"name is '{name}', which is not a chain of convolutions .* needs a feature map"
    with pytest.raises(UserError, match=sentence):
        feature_maps(name)


@pytest.mark.parametrize(
    ("name", "cut"),
    [
        ("resnet18", "avgpool"),
        ("resnet18", "fc"),
        ("alexnet", "classifier"),
        ("regnet_y_400mf", "fc"),
    ],
)
def test_a_cut_behind_the_last_feature_map_is_refused(name: str, cut: str) -> None:
    last = list(feature_maps(name))[-1]
    sentence = rf"cut is '{cut}', but {name} has a feature map, which .*, only after .*{last}\.$"
    with pytest.raises(UserError, match=sentence):
        kept_children(name, cut)


def test_an_unknown_cut_is_answered_with_all_there_are() -> None:
    sentence = r"cut is 'layer9', but resnet18 can be cut after conv1, bn1, .*layer3, layer4\.$"
    with pytest.raises(UserError, match=sentence):
        kept_children("resnet18", "layer9")
    sentence = r"'conv6', but alexnet can be cut after conv1, .*, conv5, 0, 1, .*12\.$"
    with pytest.raises(UserError, match=sentence):
        kept_children("alexnet", "conv6")


def test_an_unknown_network_is_answered_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"no backbone 'resnet81'; did you mean .*resnet18"):
        feature_maps("resnet81")
    with pytest.raises(ValueError, match=r"no backbone 'vgg_16'; did you mean vgg16,"):
        BackboneSettings(name="vgg_16", cut="conv5_3")


class Steps(nn.Module):
    """Three convolutions, and between the last two whatever a test wants."""

    def __init__(self, between: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.a, self.b, self.c = (nn.Conv2d(3, 3, 3, padding=1) for _ in "abc")
        self.between = between

    def forward(self, x: Tensor) -> Tensor:
        return self.c(self.between(self.b(self.a(x))))


@pytest.mark.parametrize(
    "between",
    [
        lambda x: x + 1,
        lambda x: F.relu(x),
        lambda x: F.relu(x, inplace=True),  # the same tensor, other values
        lambda x: x.transpose(2, 3),
    ],
)
def test_a_chain_ends_where_something_happens_between_two_children(
    network_named: Callable[..., None], between: Callable[[Tensor], Tensor]
) -> None:
    network_named("steps", lambda: Steps(between))
    assert feature_maps("steps") == {"a": 3, "b": 3}


def test_a_child_that_is_used_twice_ends_the_chain(network_named: Callable[..., None]) -> None:
    class Twice(Steps):
        def forward(self, x: Tensor) -> Tensor:
            return self.c(self.b(self.b(self.a(x))))

    network_named("twice", lambda: Twice(nn.Identity()))
    assert feature_maps("twice") == {"a": 3}


def test_a_chain_without_interruption_is_whole(network_named: Callable[..., None]) -> None:
    network_named("steps", lambda: Steps(lambda x: x))
    assert feature_maps("steps") == {"a": 3, "b": 3, "c": 3}


@pytest.mark.parametrize("name", ["alexnet", "vgg16"])
def test_the_classics_are_those_of_torchvision(name: str) -> None:
    ours, theirs = (
        dict(network.features.named_children())
        for network in (whole_network(name), torchvision.models.get_model(name, weights=None))
    )
    assert {k: repr(layer) for k, layer in ours.items()} == {
        k: repr(layer) for k, layer in theirs.items()
    }


def test_a_classic_needs_no_torchvision() -> None:
    code = (
        "import sys; from vprlib.model.backbones import empty_backbone;"
        " empty_backbone('alexnet', 'conv5'); print('torchvision' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
