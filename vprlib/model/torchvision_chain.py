"""torchvision's classification networks as chains of children that can be cut."""

import functools
import re
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from vprlib.model.classic import NETWORKS, Classic
from vprlib.model.settings import unknown_name
from vprlib.pipeline.params import UserError

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's
LACKS = {"packaged": "has none in a package: set weights to imagenet, random or a file"}
_WITH_THEIR_OWN_INPUT = ("googlenet", "inception_v3")
# DenseNet's published files say norm.1 where the network says norm1
_DENSE = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")
_SIDES = (256, 320)  # of square images; a feature map grows from one to the other
Seen = tuple[Any, int]  # a tensor, and how often it had been changed in place


class InputChange(nn.Module):
    """From ImageNet's mean and deviation to 0.5 and 0.5, which two old networks need."""

    def forward(self, x: Tensor) -> Tensor:
        mean, std = (x.new_tensor(values)[:, None, None] for values in (MEAN, STD))
        return (x * std + mean - 0.5) / 0.5


class _NoWeights(TorchFunctionMode):
    """Layers created inside take no memory and draw no random numbers."""

    def __torch_function__(
        self,
        function: Callable[..., object],
        types: Sequence[type],
        args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
    ) -> object:
        where = {"device": "meta"} if function is torch.empty else {}
        return function(*args, **{**(kwargs or {}), **where})


def names() -> list[str]:
    from torchvision import models  # takes over a second

    return models.list_models(module=models)


def whole_network(name: str) -> nn.Module:
    """torchvision's network on the meta device, where weights take no memory."""
    if name in NETWORKS:
        with _NoWeights():
            return Classic(*NETWORKS[name]()).eval()
    if name not in names():
        raise UserError(f"params.yaml: model.backbone.name: {unknown_name(name, names())}.")
    from torchvision.models import get_model

    more = {"aux_logits": False, "init_weights": False} if name in _WITH_THEIR_OWN_INPUT else {}
    with _NoWeights():
        whole = get_model(name, weights=None, **more).to("meta").eval()
    if name in _WITH_THEIR_OWN_INPUT:
        # in place of the method of that name, and no child: the tensors keep their names
        object.__setattr__(whole, "_transform_input", InputChange())
    return whole


def children(whole: nn.Module) -> dict[str, nn.Module]:
    """The children of `.features` if it is a Sequential, otherwise the top-level ones."""
    features = getattr(whole, "features", None)
    if isinstance(features, nn.Sequential):
        return dict(features.named_children())
    first = getattr(whole, "_transform_input", None)
    changed = {"transform_input": first} if isinstance(first, InputChange) else {}
    return {**changed, **dict(whole.named_children())}


@functools.cache
def feature_maps(name: str) -> dict[str, int]:
    """The children that the chain can be cut after, and the channels there.

    Up to there the chain computes what the whole network does, and its output is a map
    [B, D, H, W] whose H and W grow with the image.
    """
    whole = whole_network(name)
    small, large = (list(_outputs(whole, side)) for side in _SIDES)
    found = {}
    for (child, a), (_, b) in zip(small, large, strict=False):
        if a.dim() == b.dim() == 4 and _grows(a, b):
            found[child] = a.shape[1]
    if not found:
        raise UserError(
            f"params.yaml: model.backbone.name is '{name}', which is not a chain of convolutions"
            " for images of any size, but the pool needs a feature map: choose a convolutional"
            " network such as vgg16 or resnet18."
        )
    return found


@functools.cache
def aliases(name: str) -> dict[str, str]:
    """Friendly names of children: convolutions of AlexNet and VGG, fire modules of SqueezeNet."""
    chain = children(whole_network(name))
    if name == "alexnet":
        return {f"conv{n}": child for n, child in enumerate(_of(chain, nn.Conv2d), 1)}
    if name.startswith("squeezenet"):
        from torchvision.models.squeezenet import Fire

        fires = _of(chain, Fire)
        return {f"fire{n}": child for n, child in enumerate(fires, 2)}
    return dict(_convolutions_by_block(chain)) if name.startswith("vgg") else {}


def last_child(name: str, cut: str) -> str:
    """The child that `cut` names, by its own name or an alias; an error for other names."""
    maps, friendly = feature_maps(name), aliases(name)
    child = friendly.get(cut, cut)
    if child in maps:
        return child
    whole = whole_network(name)
    exists = child in {**children(whole), **dict(whole.named_children())}
    has = "has a feature map, which the pool needs, only" if exists else "can be cut"
    raise UserError(
        f"params.yaml: model.backbone.cut is '{cut}', but {name} {has} after"
        f" {', '.join([*friendly, *maps])}."
    )


def channels(name: str, cut: str) -> int:
    return feature_maps(name)[last_child(name, cut)]


def kept_children(name: str, cut: str) -> list[str]:
    known = list(feature_maps(name))
    return known[: known.index(last_child(name, cut)) + 1]


def cut_network(name: str, cut: str) -> nn.Sequential:
    """The chain up to the cut, on the meta device."""
    chain = children(whole_network(name))
    kept = kept_children(name, cut)
    return nn.Sequential(OrderedDict((child, chain[child]) for child in kept))


def renamed(name: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a published file under the names of the network."""
    return {_DENSE.sub(r"\1\2", key): tensor for key, tensor in tensors.items()}


@torch.no_grad()
def _outputs(whole: nn.Module, side: int) -> Iterator[tuple[str, Tensor]]:
    """The output of each child inside the whole network, as long as the network is a chain.

    It is a chain while each child is called once, with the unchanged output of the one before. No
    value is computed to find that out.
    """
    chain, image = children(whole), torch.empty(1, 3, side, side, device="meta")
    given, gave = _watch(whole, chain, image)
    before = _seen(image)
    for child in chain:
        if len(given[child]) != 1 or child not in gave or not isinstance(gave[child][0], Tensor):
            return
        tensor, version = given[child][0]
        if tensor is not before[0] or version != before[1]:
            return
        before = gave[child]
        yield child, before[0]


def _watch(
    whole: nn.Module, chain: dict[str, nn.Module], image: Tensor
) -> tuple[dict[str, list[Seen]], dict[str, Seen]]:
    """The inputs of each child in each call, and its last output."""
    given: dict[str, list[Seen]] = defaultdict(list)
    gave: dict[str, Seen] = {}
    hooks = []
    for child, module in chain.items():

        def before(_: nn.Module, inputs: tuple[object, ...], child: str = child) -> None:
            given[child] += [_seen(value) for value in inputs]

        def after(_: nn.Module, __: object, output: object, child: str = child) -> None:
            gave[child] = _seen(output)

        hooks += [module.register_forward_pre_hook(before), module.register_forward_hook(after)]
    try:
        whole(image)
    except (RuntimeError, AssertionError):  # it takes images of one size alone
        given.clear()
    finally:
        for hook in hooks:
            hook.remove()
    return given, gave


def _seen(value: object) -> Seen:
    return value, value._version if isinstance(value, Tensor) else 0


def _grows(small: Tensor, large: Tensor) -> bool:
    return all(a < b for a, b in zip(small.shape[2:], large.shape[2:], strict=True))


def _of(chain: dict[str, nn.Module], kind: type[nn.Module]) -> list[str]:
    return [child for child, module in chain.items() if isinstance(module, kind)]


def _convolutions_by_block(chain: dict[str, nn.Module]) -> Iterator[tuple[str, str]]:
    """VGG's names: conv3_2 is the second convolution after the second pooling."""
    block, place = 1, 0
    for child, module in chain.items():
        if isinstance(module, nn.MaxPool2d):
            block, place = block + 1, 0
        if isinstance(module, nn.Conv2d):
            place += 1
            yield f"conv{block}_{place}", child
