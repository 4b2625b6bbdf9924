"""A narrower network computes what the full one does without those channels."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vprlib.compress.pruning import (
    by_change,
    by_magnitude,
    check_prunable,
    hold_zeros,
    kept_count,
    prunable_weights,
    sparsify,
    without_channels,
)
from vprlib.model.model import Architecture, PlaceModel, read_model, write_model
from vprlib.model.packing import Form
from vprlib.model.settings import PoolSettings
from vprlib.pipeline.params import UserError


def a_model(name: str, cut: str, whitening: int | None = None, kind: str = "netvlad") -> PlaceModel:
    torch.manual_seed(1)
    pool = PoolSettings(kind=kind)
    clusters = 3 if kind == "netvlad" else 0
    model = PlaceModel(Architecture(name, cut, pool, clusters, whitening))
    if kind == "netvlad":
        nn.init.uniform_(model.pool.centroids)
    for norm in model.backbone.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.running_var, 0.5, 2)
            nn.init.normal_(norm.running_mean, 0, 0.1)
    return model


def pixels(count: int = 2) -> Tensor:
    values = np.random.default_rng(1).integers(0, 256, (count, 64, 80, 3), dtype=np.uint8)
    return torch.from_numpy(values)


@torch.no_grad()
def described(model: PlaceModel) -> Tensor:
    return model(pixels())


@torch.no_grad()
def silenced(model: PlaceModel, narrow: PlaceModel) -> PlaceModel:
    """The full network, chained layers of which give nothing in channels that the other lacks.

    Which ones are left shows in the filters: those of the first layer are equal in both.
    """
    full = PlaceModel(model.architecture)
    full.load_state_dict(model.state_dict())
    before = torch.arange(3)
    convolutions = [m for m in full.backbone.modules() if isinstance(m, nn.Conv2d)]
    left = [m for m in narrow.backbone.modules() if isinstance(m, nn.Conv2d)]
    for wide, slim in zip(convolutions, left, strict=True):
        rows = wide.weight[:, before].flatten(1)
        kept = torch.tensor(
            [int((rows - row).abs().sum(1).argmin()) for row in slim.weight.flatten(1)]
        )
        assert torch.equal(rows[kept], slim.weight.flatten(1))
        gone = torch.ones(len(rows), dtype=torch.bool)
        gone[kept] = False
        wide.weight[gone], wide.bias[gone] = 0, 0
        before = kept
    full.pool.centroids[:, gone] = 0
    return full


def test_a_narrower_chain_is_the_full_one_without_those_channels(slim: str) -> None:
    model = a_model(slim, "conv5")
    narrow = without_channels(model, 0.3, by_magnitude(model))
    whole = described(silenced(model, narrow)).reshape(2, 3, 8)
    kept = whole[:, :, whole.abs().sum(dim=(0, 1)) > 0]
    assert kept.shape[2] == 6  # 0.7 · 8
    torch.testing.assert_close(described(narrow), kept.flatten(1))
    assert narrow.dim == 3 * 6 and narrow.pool.centroids.shape == (3, 6)
    assert all(m.weight.shape[0] == 6 for m in narrow.backbone if isinstance(m, nn.Conv2d))


@pytest.mark.parametrize(
    ("name", "cut", "whitening", "kind"),
    [("resnet18", "layer1", 5, "netvlad"), ("squeezenet1_1", "fire4", None, "gem")],
)
def test_sums_and_joins_stay_together_and_read_back(tmp_path, name, cut, whitening, kind) -> None:
    model = a_model(name, cut, whitening, kind)
    narrow = without_channels(model, 0.3, by_change(model, [pixels()], 1))
    write_model(tmp_path / "m", narrow, {})
    found = read_model(tmp_path / "m")
    assert torch.equal(described(found), described(narrow))
    sizes = [sum(t.numel() for t in m.backbone.state_dict().values()) for m in (narrow, model)]
    assert sizes[0] < 0.6 * sizes[1]


def test_a_whitening_is_left_its_own_columns(slim: str) -> None:
    model = a_model(slim, "conv5", whitening=5)
    narrow = without_channels(model, 0.3, by_magnitude(model))
    bare = without_channels(PlaceModelWithout(model), 0.3, by_magnitude(model))
    with torch.no_grad():
        pooled = bare(pixels())
        columns = narrow.whitening.weight
        wanted = nn.functional.normalize(pooled @ columns.T + narrow.whitening.bias, dim=1)
    torch.testing.assert_close(described(narrow), wanted)
    assert columns.shape == (5, 18)
    whole = model.whitening.weight.reshape(5, 3, 8)
    for place in range(6):  # each column was one of the full network's, of the same word
        column = columns.reshape(5, 3, 6)[:, :, place]
        assert any(torch.equal(column, whole[:, :, channel]) for channel in range(8))


def PlaceModelWithout(model: PlaceModel) -> PlaceModel:  # noqa: N802
    from dataclasses import replace

    bare = PlaceModel(replace(model.architecture, whitening=None))
    bare.load_state_dict({k: v for k, v in model.state_dict().items() if "whitening" not in k})
    return bare


def test_the_least_channels_go(slim: str) -> None:
    model = a_model(slim, "conv5")
    scores = {name: torch.arange(8.0).flip(0).double() for name in by_magnitude(model)}
    narrow = without_channels(model, 0.5, scores)
    assert torch.equal(narrow.backbone[0].weight, model.backbone[0].weight[:4])
    assert torch.equal(narrow.pool.centroids, model.pool.centroids[:, :4])


def test_change_is_the_slope_of_the_descriptor_as_a_channel_fades(slim: str) -> None:
    """Against a difference quotient for each channel, with the same random signs."""
    model = a_model(slim, "conv5")
    image = pixels(1)
    found = by_change(model, [image], seed=4)["3"]
    signs = (
        torch.randint(0, 2, (1, model.dim), generator=torch.Generator().manual_seed(4)) * 2.0 - 1
    )
    for channel in range(8):
        values = []
        for part in (0.998, 1.002):
            factors = torch.ones(8)
            factors[channel] = part
            hook = model.backbone[3].register_forward_hook(
                lambda _, __, out, factors=factors: out * factors[:, None, None]
            )
            with torch.no_grad():
                values.append(float((model(image).double() * signs).sum()))
            hook.remove()
        slope = abs(values[1] - values[0]) / 0.004
        assert found[channel].item() ** 0.5 == pytest.approx(slope, rel=0.02, abs=3e-4)


def test_magnitude_is_the_length_of_a_filter(slim: str) -> None:
    model = a_model(slim, "conv5")
    weight = model.backbone[0].weight.detach()
    wanted = [float(weight[n].square().sum().sqrt()) for n in range(8)]
    np.testing.assert_allclose(by_magnitude(model)["0"].numpy(), wanted, rtol=1e-6)


@pytest.mark.parametrize(
    ("channels", "fraction", "left"),
    [(256, 0.3, 176), (64, 0.3, 48), (8, 0.3, 6), (8, 0.99, 1), (64, 0.99, 8)],
)
def test_whole_vectors_of_channels_are_left(channels: int, fraction: float, left: int) -> None:
    assert kept_count(channels, fraction) == left


def test_sparse_weights_lose_the_smallest_and_take_their_true_size(
    tmp_path: Path, slim: str
) -> None:
    model = a_model(slim, "conv5")
    sparse = sparsify(model, 0.5)
    for name, weight in prunable_weights(sparse).items():
        old = dict(model.named_parameters())[name]
        gone = weight == 0
        assert gone.sum() == weight.numel() // 2
        assert old[gone].abs().max() <= old[~gone].abs().min()
        assert torch.equal(weight[~gone], old[~gone])
    write_model(tmp_path / "m", sparse, {}, Form(leaves_out_zeros=True))
    assert torch.equal(described(read_model(tmp_path / "m")), described(sparse))


def test_zeros_that_are_held_stay_zero_while_the_rest_learns(slim: str) -> None:
    model = sparsify(a_model(slim, "conv5"), 0.5)
    hold_zeros(model)
    before = {name: weight.detach().clone() for name, weight in prunable_weights(model).items()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
    for _ in range(2):
        optimizer.zero_grad()
        model(pixels())[:, 0].sum().backward()
        optimizer.step()
    for name, weight in prunable_weights(model).items():
        assert torch.equal(weight == 0, before[name] == 0)
        assert not torch.equal(weight, before[name])


def test_networks_with_other_layers_are_refused(slim: str) -> None:
    model = a_model(slim, "conv5")
    model.backbone.append(nn.GroupNorm(2, 8))
    with pytest.raises(UserError, match=r"^alexnet cannot be pruned by channels: it has a GroupN"):
        check_prunable(model)
    model.backbone[-1] = nn.Conv2d(8, 8, 1, groups=2)
    with pytest.raises(UserError, match=r"the convolution 11 has 2 groups"):
        check_prunable(model)
