"""All heads: against slow twins of the published ones, and the laws that they share."""

import pytest
import rivals
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from vprlib.interop.published import head_of
from vprlib.model.heads.token import with_token, without_token
from vprlib.model.pools import build_pool, dim_out
from vprlib.model.settings import AnyPool, Pool
from vprlib.pipeline.params import UserError

CHANNELS, CLUSTERS = 6, 3
SMALL = {
    "gem_fc": {"dimensions": 5},
    "convap": {"channels": 4},
    "mixvpr": {"map": [4, 4], "blocks": 2, "channels": 5, "rows": 3},
    "boq": {"channels": 8, "queries": 3, "blocks": 2, "rows": 4},
    "salad": {"clusters": 4, "channels": 3, "token": 5, "hidden": 7},
    "salad linear": {"clusters": 4, "channels": 3, "token": 5, "hidden": 7, "linear": 6},
    "supervlad": {"ghosts": 1},
    "netvlad_linear": {"channels": 4},
    "netvlad_linear token": {"channels": 4, "token": 3},
}
ALL = pytest.mark.parametrize("name", SMALL)
TWINS = {
    "gem_fc": lambda: rivals.GemFC(CHANNELS, 5),
    "convap": lambda: rivals.ConvAP(CHANNELS, 4),
    "mixvpr": lambda: rivals.MixVPR(CHANNELS, 4, 2, 5, 3),
    "boq": lambda: rivals.BoQ(CHANNELS, 8, 3, 2, 4),
    "salad": lambda: rivals.Salad(CHANNELS, 4, 3, 5, 7),
    "salad linear": lambda: rivals.WithLinear(rivals.Salad(CHANNELS, 4, 3, 5, 7), 17, 6),
}


def settings_of(name: str) -> Pool:
    values = {"kind": name.partition(" ")[0], **SMALL[name]}
    return TypeAdapter(AnyPool).validate_python(values)


def a_head(name: str) -> nn.Module:
    head = build_pool(settings_of(name), CLUSTERS, CHANNELS).eval()
    generator = torch.Generator().manual_seed(2)
    for parameter in head.parameters():
        if parameter.ndim > 0 and parameter.shape != (1,):
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.5
    return head


def maps(name: str, batch: int = 2, height: int = 4, width: int = 4, seed: int = 1) -> Tensor:
    """Such as the head takes, with a class token if it wants one."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(batch, CHANNELS, height, width, generator=generator)
    if not settings_of(name).has_token:
        return features
    return with_token(torch.randn(batch, CHANNELS, generator=generator), features)


@pytest.mark.parametrize("name", TWINS)
def test_a_head_equals_its_slow_twin(name: str) -> None:
    twin = rivals.randomised(TWINS[name]())
    found, tensors = head_of({n.removeprefix("agg."): t for n, t in twin.state_dict().items()})
    assert found.settings == settings_of(name)
    head = build_pool(found.settings, 0, CHANNELS).eval()
    head.load_state_dict(tensors)
    features = maps(name, batch=3)
    given = without_token(features)[::-1] if found.settings.has_token else features
    torch.testing.assert_close(head(features), twin(given), atol=1e-5, rtol=0)


def test_convaps_cells_are_those_of_adaptive_pooling() -> None:
    x = torch.randn(2, CHANNELS, 7, 9)
    for rows, columns in ((2, 2), (3, 4), (7, 1)):
        settings = {"kind": "convap", "channels": 2, "rows": rows, "columns": columns}
        head = build_pool(TypeAdapter(AnyPool).validate_python(settings), 0, CHANNELS)
        pooled = nn.functional.adaptive_avg_pool2d(head.conv(x), (rows, columns)).flatten(1)
        torch.testing.assert_close(head(x), nn.functional.normalize(pooled))


@ALL
def test_a_head_gives_unit_vectors_of_the_length_it_promises(name: str) -> None:
    described = a_head(name)(maps(name, batch=3))
    assert described.shape == (3, dim_out(settings_of(name), CLUSTERS, CHANNELS))
    torch.testing.assert_close(described.norm(dim=1), torch.ones(3))


@ALL
def test_gradients_of_a_head_are_right(name: str) -> None:
    head = a_head(name).double()
    features = maps(name, batch=1).double().requires_grad_()
    weights = [p for p in head.parameters() if p.numel() < 20]
    inputs = (features, *weights)
    assert torch.autograd.gradcheck(lambda f, *_: head(f), inputs, fast_mode=True)


@pytest.mark.parametrize("name", ["gem_fc", "salad", "supervlad", "netvlad_linear"])
def test_the_order_of_positions_does_not_matter(name: str) -> None:
    head, features = a_head(name), maps(name)
    rows = features[:, :, 1:] if settings_of(name).has_token else features
    order = torch.randperm(16, generator=torch.Generator().manual_seed(3))
    shuffled = rows.flatten(2)[:, :, order].unflatten(2, (4, 4))
    if settings_of(name).has_token:
        shuffled = with_token(features[:, :, 0, 0], shuffled)
    torch.testing.assert_close(head(shuffled), head(features), atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", ["convap", "mixvpr", "boq"])
def test_the_order_of_positions_matters_where_it_must(name: str) -> None:
    features = maps(name)
    assert (a_head(name)(features.flip(3)) - a_head(name)(features)).abs().max() > 1e-4


@pytest.mark.parametrize("name", ["gem_fc", "supervlad", "netvlad_linear"])
def test_the_length_of_features_does_not_matter(name: str) -> None:
    head, features = a_head(name), maps(name)
    torch.testing.assert_close(head(features * 50), head(features), atol=1e-6, rtol=0)


@ALL
def test_an_image_is_described_alike_in_any_batch(name: str) -> None:
    head, features = a_head(name), maps(name, batch=7)
    with torch.no_grad():
        assert torch.equal(head(features)[:2], head(features[:2]))
        assert torch.equal(head(features)[4:], head(features[4:]))


@ALL
def test_features_of_nothing_but_zeros_give_finite_gradients(name: str) -> None:
    head, features = a_head(name), torch.zeros_like(maps(name)).requires_grad_()
    described = head(features)
    described.sum().backward()
    assert described.isfinite().all()
    assert features.grad.isfinite().all()


@pytest.mark.parametrize(
    ("settings", "channels", "millions"),
    [
        ({"kind": "mixvpr"}, 1024, 2.34),
        ({"kind": "salad"}, 768, 1.41),
        ({"kind": "boq"}, 768, 8.6),
        ({"kind": "boq", "channels": 512}, 1024, 15.3),
    ],
)
def test_heads_have_as_many_parameters_as_published(
    settings: dict[str, object], channels: int, millions: float
) -> None:
    with torch.device("meta"):
        head = build_pool(TypeAdapter(AnyPool).validate_python(settings), 0, channels)
    count = sum(p.numel() for p in head.parameters())
    assert count / 1e6 == pytest.approx(millions, abs=0.05 if millions > 3 else 0.006)


def test_megalocs_linear_layer_has_as_many_parameters_as_published() -> None:
    settings = TypeAdapter(AnyPool).validate_python(
        {"kind": "salad", "channels": 256, "linear": 8448}
    )
    with torch.device("meta"):
        head = build_pool(settings, 0, 768)
    assert sum(p.numel() for p in head.linear.parameters()) / 1e6 == pytest.approx(140.6, abs=0.05)
    assert dim_out(settings, 0, 768) == 8448


@pytest.mark.parametrize(
    ("settings", "channels", "clusters", "length"),
    [
        ({"kind": "mixvpr"}, 1024, 0, 4096),
        ({"kind": "salad"}, 768, 0, 8448),
        ({"kind": "boq"}, 768, 0, 12_288),
        ({"kind": "boq", "channels": 512}, 1024, 0, 16_384),
        ({"kind": "supervlad"}, 768, 5, 3072),
        ({"kind": "netvlad_linear"}, 768, 64, 8192),
        ({"kind": "netvlad_linear", "token": 256}, 768, 64, 8448),
        ({"kind": "convap"}, 2048, 0, 4096),
    ],
)
def test_descriptors_are_as_long_as_published(
    settings: dict[str, object], channels: int, clusters: int, length: int
) -> None:
    assert dim_out(TypeAdapter(AnyPool).validate_python(settings), clusters, channels) == length


def test_the_token_stands_above_the_map() -> None:
    token, features = torch.randn(2, 3), torch.randn(2, 3, 4, 5)
    joined = with_token(token, features)
    assert joined.shape == (2, 3, 5, 5)
    assert joined[:, :, 0, 1:].abs().max() == 0
    for found, expected in zip(without_token(joined), (token, features), strict=True):
        assert torch.equal(found, expected)


def test_mixvpr_refuses_a_map_of_another_size() -> None:
    sentence = (
        r"maps of 4×4 positions \(height × width\), but the images give 2×8: .*images\.resize"
    )
    with pytest.raises(UserError, match=sentence):
        a_head("mixvpr")(torch.zeros(1, CHANNELS, 2, 8))


def test_salad_refuses_fewer_patches_than_clusters() -> None:
    with pytest.raises(UserError, match=r"needs more than 4 patches, .* have 4: make them larger"):
        a_head("salad")(torch.zeros(1, CHANNELS, 3, 2))


def test_supervlad_refuses_ghosts_alone() -> None:
    with pytest.raises(UserError, match=r"kmeans\.clusters is 1, but SuperVLAD counts its ghosts"):
        build_pool(settings_of("supervlad"), 1, CHANNELS)
