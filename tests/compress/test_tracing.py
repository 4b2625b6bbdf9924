"""Networks of torchvision as operations give the same maps; others are refused with a sentence."""

import pytest
import torch
from torch import Tensor, nn

from vprlib.compress.fake_quant import FakeQuantBackbone
from vprlib.compress.tracing import trace
from vprlib.model.backbones import empty_backbone
from vprlib.pipeline.params import UserError


@pytest.mark.parametrize(
    ("name", "cut", "convolutions"),
    [
        ("resnet18", "layer1", 5),
        ("squeezenet1_1", "fire4", 10),
        ("vgg11_bn", "conv3_1", 3),
        pytest.param("mobilenet_v2", "3", 9, marks=pytest.mark.slow),
    ],
)
def test_the_operations_give_the_maps_of_the_network(
    name: str, cut: str, convolutions: int
) -> None:
    torch.manual_seed(1)
    backbone = empty_backbone(name, cut)
    for norm in backbone.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.normal_(norm.running_mean, 0, 0.1)
            nn.init.uniform_(norm.running_var, 0.5, 2)
            nn.init.normal_(norm.bias, 0, 0.1)
    traced = trace(backbone, name)
    x = torch.randn(2, 3, 61, 83)
    with torch.no_grad():
        wanted, found = backbone(x), FakeQuantBackbone(traced)(x)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5 * wanted.abs().max().item())
    assert len(traced.weights) == convolutions


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if x.mean() > 0 else self.conv(x)


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        (nn.Sequential(nn.Conv2d(3, 4, 1), nn.Hardswish()), r"has a Hardswish \(1\)"),
        (nn.Sequential(nn.BatchNorm2d(3)), r"normalises what is no convolution's \(0\)"),
        (nn.Sequential(nn.AvgPool2d(2)), r"has a AvgPool2d \(0\)"),
        (nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(3, 4, 1)), "does more to its image than conv"),
        (Twice(), "computes different things for different images"),
    ],
)
def test_what_integers_cannot_do_is_a_sentence(network: nn.Module, reason: str) -> None:
    with pytest.raises(UserError, match=rf"^it cannot compute in int8: it {reason}.*Supported are"):
        trace(network.eval(), "it")
