"""Convolutions and normalisations with other channels than their network has by its name."""

from collections.abc import Mapping

from torch import nn

# by layer: channels in, channels out and groups of a convolution; channels of a normalisation
Widths = Mapping[str, tuple[int, ...]]


def widths_of(network: nn.Module) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d):
            found[name] = (layer.in_channels, layer.out_channels, layer.groups)
        elif isinstance(layer, nn.BatchNorm2d):
            found[name] = (layer.num_features,)
    return found


def narrow(network: nn.Module, widths: Widths) -> None:
    """Gives the layers named their channels, on the meta device: the weights are yet to come."""
    layers = dict(network.named_modules())
    for name, width in widths.items():
        network.set_submodule(name, _narrowed(layers[name], width))


def _narrowed(layer: nn.Module, width: tuple[int, ...]) -> nn.Module:
    if isinstance(layer, nn.BatchNorm2d):
        (channels,) = width
        return nn.BatchNorm2d(channels, layer.eps, layer.momentum, layer.affine, device="meta")
    channels_in, channels_out, groups = width
    return nn.Conv2d(
        channels_in,
        channels_out,
        layer.kernel_size,
        layer.stride,
        layer.padding,
        layer.dilation,
        groups,
        layer.bias is not None,
        device="meta",
    )
