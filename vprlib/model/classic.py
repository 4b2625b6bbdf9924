"""AlexNet's and VGG16's layers as torchvision has them, whose import would take 1.4 s a stage."""

from collections.abc import Callable, Iterator

from torch import Tensor, nn

# by block: the channels of its convolutions
_VGG16 = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class Classic(nn.Module):
    """A network of convolutions alone; what classifies is a name and does nothing."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.features = nn.Sequential(*layers)
        self.avgpool, self.classifier = nn.Identity(), nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        return self.features(images)


def _alexnet() -> Iterator[nn.Module]:
    before = 3
    for place, (width, size, stride) in enumerate(
        ((64, 11, 4), (192, 5, 1), (384, 3, 1), (256, 3, 1), (256, 3, 1))
    ):
        yield nn.Conv2d(before, width, size, stride, padding=2 if size > 3 else 1)
        yield nn.ReLU(inplace=True)
        if place in (0, 1, 4):
            yield nn.MaxPool2d(3, 2)
        before = width


def _vgg16() -> Iterator[nn.Module]:
    before = 3
    for block in _VGG16:
        for width in block:
            yield nn.Conv2d(before, width, 3, padding=1)
            yield nn.ReLU(inplace=True)
            before = width
        yield nn.MaxPool2d(2, 2)


NETWORKS: dict[str, Callable[[], Iterator[nn.Module]]] = {"alexnet": _alexnet, "vgg16": _vgg16}
