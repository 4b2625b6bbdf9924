"""How much a network would miss each channel of each of its layers."""

from collections import defaultdict
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from vprlib.arithmetic import Arithmetic
from vprlib.model import PlaceModel

Scores = dict[str, Tensor]  # by layer of the backbone, one a channel that it gives


def by_magnitude(model: PlaceModel) -> Scores:
    """The length of each filter."""
    convolutions = _layers(model.backbone, (nn.Conv2d,))
    return {
        name: layer.weight.detach().flatten(1).norm(dim=1).double().cpu()
        for name, layer in convolutions.items()
    }


def by_change(model: PlaceModel, batches: Iterable[Tensor], seed: int) -> Scores:
    """How far the descriptor moves without the channel, to first order (Taylor), squared.

    For an image it is |Σ over positions of ∂v/∂z · z|² of the channel's values z. Its mean over
    random signs r, of the square of Σ ∂(r·v)/∂z · z, is just that; so one backward pass an image
    is enough. There is no label in it, and no triplet: a network that has learnt violates few.
    """
    layers = _layers(model.backbone, (nn.Conv2d, nn.BatchNorm2d))
    totals: Scores = defaultdict(lambda: torch.zeros(1, dtype=torch.float64))
    given: dict[str, Tensor] = {}
    hooks = [layer.register_forward_hook(_keeping(given, name)) for name, layer in layers.items()]
    signs = torch.Generator().manual_seed(seed)
    device = next(model.parameters()).device
    try:
        for batch in batches:
            with torch.enable_grad(), Arithmetic(device):
                vectors = model(batch)
                drawn = torch.randint(0, 2, vectors.shape, generator=signs) * 2.0 - 1
                loss = (vectors * drawn.to(device)).sum()
                gradients = torch.autograd.grad(loss, list(given.values()))
            for (name, z), gradient in zip(given.items(), gradients, strict=True):
                moved = (z.detach() * gradient).double().sum(dim=(2, 3))  # B D
                totals[name] = totals[name] + moved.square().sum(dim=0).cpu()
            given.clear()
    finally:
        for hook in hooks:
            hook.remove()
    return dict(totals)


def _layers(backbone: nn.Module, kinds: tuple[type, ...]) -> dict[str, nn.Module]:
    return {name: m for name, m in backbone.named_modules() if isinstance(m, kinds)}


def _keeping(given: dict[str, Tensor], name: str) -> Callable[..., Tensor]:
    def keep(_: nn.Module, __: tuple[object, ...], found: Tensor) -> Tensor:
        given[name] = found if found.requires_grad else found.requires_grad_()
        return found.clone()  # a ReLU in place would change what is kept

    return keep
