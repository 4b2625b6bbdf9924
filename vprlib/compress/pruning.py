"""Pruning: removes channels or single weights of a network."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from vprlib.model.backbones import channels as map_channels
from vprlib.model.backbones import widths_of
from vprlib.model.model import Architecture, PlaceModel
from vprlib.model.settings import PoolSettings, has_words
from vprlib.pipeline.params import UserError

Scores = dict[str, Tensor]  # by layer of the backbone, one per output channel


def by_magnitude(model: PlaceModel) -> Scores:
    """The norm of each filter."""
    return {
        name: layer.weight.detach().flatten(1).norm(dim=1).double().cpu()
        for name, layer in model.backbone.named_modules()
        if isinstance(layer, nn.Conv2d)
    }


def by_change(model: PlaceModel, batches: Iterable[Tensor], seed: int) -> Scores:
    """Squared change of the descriptor without the channel, to first order (Taylor).

    For an image it is |Σ over positions of ∂v/∂z · z|² of the channel's values z. The square of
    Σ ∂(r·v)/∂z · z with random signs r has this expectation, so one backward pass an image is
    enough. It needs no labels or triplets, of which a trained network violates only few.
    """
    totals: Scores = defaultdict(lambda: torch.zeros(1, dtype=torch.float64))
    given: dict[str, Tensor] = {}
    hooks = [
        layer.register_forward_hook(_keeping(given, name))
        for name, layer in model.backbone.named_modules()
        if isinstance(layer, nn.Conv2d | nn.BatchNorm2d)
    ]
    signs = torch.Generator().manual_seed(seed)
    try:
        for batch in batches:
            with torch.enable_grad():
                vectors = model(batch)
                drawn = torch.randint(0, 2, vectors.shape, generator=signs) * 2.0 - 1
                loss = (vectors * drawn.to(model.device)).sum()
                gradients = torch.autograd.grad(loss, list(given.values()))
            for (name, z), gradient in zip(given.items(), gradients, strict=True):
                moved = (z.detach() * gradient).double().sum(dim=(2, 3))  # B D
                totals[name] = totals[name] + moved.square().sum(dim=0).cpu()
            given.clear()
    finally:
        for hook in hooks:
            hook.remove()
    return dict(totals)


def _keeping(given: dict[str, Tensor], name: str) -> Callable[..., Tensor]:
    def keep(_: nn.Module, __: tuple[object, ...], found: Tensor) -> Tensor:
        given[name] = found if found.requires_grad else found.requires_grad_()
        return found.clone()  # an in-place ReLU would change it

    return keep


MULTIPLE = 8  # channels, as vector instructions process them
SIDE = 256  # of the image by which the network is followed


def without_channels(model: PlaceModel, fraction: float, scores: Scores) -> PlaceModel:
    """Removes the least important channels of each group of channels that belong together.

    They are removed from the layers before and after them, the pool with its words, and the
    whitening. `fraction` is of each group, rounded to a multiple of 8.
    """
    kept, backbone = _narrowed(model, fraction, scores)
    a = model.architecture
    architecture = replace(a, widths=widths_of(backbone), channels=len(kept))
    narrower = PlaceModel(architecture)
    state = {f"backbone.{name}": tensor for name, tensor in backbone.state_dict().items()}
    narrower.load_state_dict(state | _pool_state(model, kept))
    return narrower


def check_prunable(model: PlaceModel) -> None:
    """Raises an error unless all weights are in ordinary or depthwise convolutions and norms."""
    name, pool = model.architecture.backbone, model.architecture.pool
    if not isinstance(pool, PoolSettings):
        raise UserError(
            f"the pool {pool.kind} cannot lose channels: prune a network with netvlad, gem, average"
            " or max, or use the step `sparsify`."
        )
    for place, layer in model.backbone.named_modules():
        if not isinstance(layer, nn.Conv2d | nn.BatchNorm2d) and list(layer.parameters(False)):
            raise UserError(
                f"{name} cannot be pruned by channels: it has a {type(layer).__name__} ({place}),"
                " and only convolutions and batch normalisations can lose channels: use"
                " a network such as vgg16 or resnet18, or the step `sparsify`."
            )
        if isinstance(layer, nn.Conv2d) and layer.groups not in (1, layer.in_channels):
            raise UserError(
                f"{name} cannot be pruned by channels: the convolution {place} has"
                f" {layer.groups} groups: use a network such as resnet50, or the step `sparsify`."
            )
    _library()


def pruned_length(architecture: Architecture, fractions: Sequence[float]) -> int:
    """Dimensions of a descriptor after prunings by these fractions."""
    model = PlaceModel(architecture)
    for fraction in fractions:
        check_prunable(model)
        model = without_channels(model, fraction, by_magnitude(model))
    return model.dim


def kept_count(channels: int, fraction: float) -> int:
    """How many of the channels stay: a multiple of 8 if there are enough, at least one."""
    left = channels * (1 - fraction)
    if channels < 8 * MULTIPLE:
        return max(1, round(left))
    return max(MULTIPLE, MULTIPLE * round(left / MULTIPLE))


def sparsify(model: PlaceModel, fraction: float) -> PlaceModel:
    """Sets the smallest weights of each convolution to zero; of equal ones the first."""
    sparse = PlaceModel(model.architecture)
    sparse.load_state_dict(model.state_dict())
    with torch.no_grad():
        for weight in prunable_weights(sparse).values():
            order = weight.abs().flatten().argsort(stable=True)
            is_kept = torch.ones(weight.numel(), dtype=torch.bool, device=weight.device)
            is_kept[order[: int(fraction * weight.numel())]] = False
            weight.mul_(is_kept.reshape(weight.shape))
    return sparse


def hold_zeros(model: PlaceModel) -> None:
    """Keeps zero weights at zero during training, by zeroing their gradients."""
    for weight in prunable_weights(model).values():
        mask = (weight.detach() != 0).to(weight.dtype)
        weight.register_hook(lambda gradient, mask=mask: gradient * mask.to(gradient.device))


def prunable_weights(model: PlaceModel) -> dict[str, nn.Parameter]:
    """Matrices and filters of the backbone; vectors are negligible."""
    named = model.backbone.named_parameters()
    return {f"backbone.{name}": weight for name, weight in named if weight.dim() > 1}


def _narrowed(model: PlaceModel, fraction: float, scores: Scores) -> tuple[Tensor, nn.Module]:
    """The remaining channels of the map, in order, and the pruned backbone."""
    tp = _library()
    a = model.architecture
    backbone = PlaceModel(replace(a, whitening=None)).backbone
    backbone.load_state_dict(model.backbone.state_dict())
    channels = a.channels or map_channels(a.backbone, a.cut)
    # behind the backbone, a layer whose weights tell which channels are left
    probe = nn.Conv2d(channels, 1, 1, bias=False)
    probe.weight.data = torch.arange(channels, dtype=torch.float32)[None, :, None, None]
    names = {layer: name for name, layer in backbone.named_modules()}
    followed = nn.Sequential(backbone, probe)
    for parameter in followed.parameters():
        parameter.requires_grad_(True)  # or the graph is not seen
    image = (torch.zeros(1, 3, SIDE, SIDE),)  # alone it would be taken apart
    graph = tp.DependencyGraph().build_dependency(followed, image, verbose=False)
    for group in graph.get_all_groups(ignored_layers=[probe], root_module_types=[nn.Conv2d]):
        total = _group_scores(group, scores, names)
        gone = total.argsort(stable=True)[: len(total) - kept_count(len(total), fraction)]
        root = group[0].dep
        chosen = graph.get_pruning_group(root.target.module, root.handler, sorted(gone.tolist()))
        chosen.prune()
    return probe.weight.detach().flatten().long(), backbone


def _group_scores(group: Sequence[Any], scores: Scores, names: dict[nn.Module, str]) -> Tensor:
    """The sum over the layers that output these channels, after normalisation if there is one."""
    found: dict[bool, Tensor] = {}
    total = len(group[0].idxs)
    for item in group:
        layer, handler = item.dep.target.module, item.dep.handler.__name__
        if "out_channels" not in handler or layer not in names or names[layer] not in scores:
            continue
        is_norm = isinstance(layer, nn.BatchNorm2d)
        place = torch.as_tensor(item.root_idxs)
        add = scores[names[layer]][torch.as_tensor(item.idxs)]
        found.setdefault(is_norm, torch.zeros(total, dtype=torch.float64)).index_add_(0, place, add)
    return found.get(True, found.get(False, torch.zeros(total, dtype=torch.float64)))


def _pool_state(model: PlaceModel, kept: Tensor) -> dict[str, Tensor]:
    """The tensors of the pool and the whitening for these channels only."""
    a, state = model.architecture, model.state_dict()
    tensors = {k: v for k, v in state.items() if not k.startswith("backbone.")}
    if has_words(a.pool.kind):
        for name in ("pool.conv.weight", "pool.centroids"):
            tensors[name] = tensors[name][:, kept]
    if model.whitening is not None:
        groups = model.whitening.weight.reshape(model.dim, max(1, a.clusters), -1)  # d K D
        tensors["whitening.weight"] = groups[:, :, kept].flatten(1)
    return tensors


def _library() -> ModuleType:
    try:
        import torch_pruning
    except ImportError:
        raise UserError(
            "pruning channels needs the library torch-pruning: install it with"
            " `pip install -e '.[pruning]'`, or remove pruned variants from `derived`."
        ) from None
    return torch_pruning
