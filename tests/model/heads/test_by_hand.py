"""Each head on a case small enough to work out by hand."""

import math

import pytest
import rivals
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vprlib.model.heads.boq import Queries, attend
from vprlib.model.heads.convap import ConvAP
from vprlib.model.heads.gem_fc import GemFC
from vprlib.model.heads.mixvpr import Mixer, MixVPR
from vprlib.model.heads.netvlad_linear import NetVLADLinear
from vprlib.model.heads.salad import Salad, transport
from vprlib.model.heads.settings import (
    ConvAPSettings,
    GemFCSettings,
    MixVPRSettings,
    NetVLADLinearSettings,
    SaladSettings,
    SuperVLADSettings,
)
from vprlib.model.heads.supervlad import SuperVLAD
from vprlib.model.heads.token import with_token
from vprlib.model.netvlad import NetVLAD


def filled(module: nn.Module, **values: object) -> nn.Module:
    """The module with these tensors, and zeros elsewhere."""
    for name, tensor in module.state_dict().items():
        value = torch.tensor(values.get(name.replace(".", "_"), 0.0))
        tensor.copy_(value.expand(tensor.shape) if value.ndim == 0 else value)
    return module.eval()


def test_gem_fc() -> None:
    head = GemFC(GemFCSettings(kind="gem_fc", dimensions=2, gem_p=1.0), 2)
    filled(head, gem_p=[1.0], fc_weight=[[1.0, 1.0], [0.0, 2.0]], fc_bias=[0.0, 0.2])
    # unit features (0.6, 0.8) and (1, 0), whose mean is (0.8, 0.4)
    features = torch.tensor([[3.0, 5.0], [4.0, 0.0]]).reshape(1, 2, 1, 2)
    expected = torch.tensor([[1.2, 1.0]]) / math.sqrt(1.44 + 1)
    torch.testing.assert_close(head(features), expected)


def test_convap() -> None:
    head = ConvAP(ConvAPSettings(kind="convap", channels=1), 2)
    filled(head, conv_weight=[[[[1.0]], [[2.0]]]], conv_bias=[1.0])
    features = torch.stack([torch.arange(8.0).reshape(2, 4), torch.ones(2, 4)])[None]
    # the convolution adds 3 to the first channel; each cell is half a row
    expected = torch.tensor([[3.5, 5.5, 7.5, 9.5]])
    torch.testing.assert_close(head(features), F.normalize(expected))


def test_a_mixer_of_zeros_changes_nothing_and_starts_as_published() -> None:
    x = torch.randn(2, 3, 9)
    assert torch.equal(filled(Mixer(9))(x), x)
    fresh = Mixer(400)
    assert fresh.first.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert fresh.first.bias.abs().max() == 0


def test_mixvpr() -> None:
    settings = MixVPRSettings(kind="mixvpr", map=(1, 2), blocks=1, channels=1, rows=2)
    head = MixVPR(settings, 2)
    filled(head, channels_weight=[[1.0, 3.0]], rows_weight=[[1.0, 0.0], [1.0, 1.0]])
    # positions 1 and 2 have 1 + 3·2 = 7 and 0 + 3·1 = 3
    features = torch.tensor([[1.0, 0.0], [2.0, 1.0]]).reshape(1, 2, 1, 2)
    torch.testing.assert_close(head(features), F.normalize(torch.tensor([[7.0, 10.0]])))


def test_attention_with_equal_scores_is_the_mean() -> None:
    layer = nn.MultiheadAttention(2, 1, batch_first=True)
    values = torch.zeros(6, 2)
    values[4:] = torch.eye(2)
    filled(layer, in_proj_weight=values.tolist(), out_proj_weight=[[1.0, 0.0], [0.0, 2.0]])
    keys = torch.tensor([[[1.0, 5.0], [3.0, 1.0]]])
    found = attend(layer, torch.randn(1, 3, 2), keys)
    torch.testing.assert_close(found, torch.tensor([2.0, 6.0]).expand(1, 3, 2))


def test_the_next_block_of_queries_gets_the_positions() -> None:
    block, x = Queries(4, 3, 1).eval(), torch.randn(2, 5, 4)
    positions, found = block(x)
    torch.testing.assert_close(positions, block.encoder(x))
    assert found.shape == (2, 3, 4)


def test_equal_scores_are_shared_out_by_the_masses() -> None:
    """Two clusters and four patches, all alike: each cluster takes 1/4 of each, the dustbin 2/4."""
    p = transport(torch.ones(1, 2, 4), torch.tensor(1.0))
    torch.testing.assert_close(p, torch.full((1, 2, 4), 0.25))


def test_patches_and_clusters_get_their_masses() -> None:
    scores = 3 * torch.randn(2, 5, 12, generator=torch.Generator().manual_seed(1))
    p = transport(scores, torch.tensor(0.5), rounds=300)
    torch.testing.assert_close(p.sum(dim=2), torch.ones(2, 5), atol=1e-4, rtol=0)
    assert p.sum(dim=1).max() <= 1 + 1e-5  # the rest is the dustbin's
    torch.testing.assert_close(p.sum(dim=(1, 2)), torch.full((2,), 5.0), atol=1e-3, rtol=0)
    # after any number of rounds a patch gives away no more than it has
    assert transport(scores, torch.tensor(0.5)).sum(dim=1).max() <= 1 + 1e-5


def test_transport_equals_scaling_rows_and_columns() -> None:
    scores = torch.randn(3, 4, 9, generator=torch.Generator().manual_seed(2))
    expected = torch.stack([rivals.sinkhorn(s, 0.7, 3) for s in scores]).float()
    torch.testing.assert_close(transport(scores, torch.tensor(0.7)), expected)


def test_salad() -> None:
    settings = SaladSettings(kind="salad", clusters=1, channels=2, token=2, hidden=2)
    eye = torch.eye(2)
    pointwise = eye[:, :, None, None].tolist()
    head = filled(
        Salad(settings, 2),
        **{"local_0_weight": pointwise, "local_3_weight": pointwise, "dustbin": 0.0},
        **{"scene_0_weight": eye.tolist(), "scene_2_weight": (2 * eye).tolist()},
    )
    token, features = torch.tensor([[3.0, 4.0]]), torch.tensor([[[[1.0, 2.0]], [[0.0, 4.0]]]])
    # all scores are zero: both patches weigh the same, and the sum is along (3, 4)
    expected = torch.tensor([[0.6, 0.8, 0.6, 0.8]]) / math.sqrt(2)
    torch.testing.assert_close(head(with_token(token, features)), expected)


def test_salads_dropout_is_on_only_while_it_learns() -> None:
    head = Salad(SaladSettings(kind="salad", clusters=2, channels=3, token=4, hidden=64), 5)
    features = with_token(torch.randn(1, 5), torch.randn(1, 5, 2, 2))
    assert torch.equal(head.eval()(features), head.eval()(features))
    assert not torch.equal(head.train()(features), head.train()(features))


def test_supervlad() -> None:
    head = SuperVLAD(SuperVLADSettings(kind="supervlad"), 2, 2)
    filled(head)  # each feature belongs half to the cluster, half to the ghost
    features = torch.tensor([[3.0, 1.0], [4.0, 0.0]]).reshape(1, 2, 1, 2)
    torch.testing.assert_close(head(features), F.normalize(torch.tensor([[1.6, 0.8]])))


def test_supervlad_equals_the_loop_over_positions_and_clusters() -> None:
    head = SuperVLAD(SuperVLADSettings(kind="supervlad", ghosts=2), 5, 4)
    features = torch.randn(2, 4, 3, 5, generator=torch.Generator().manual_seed(5))
    expected = []
    for image in features.flatten(2):
        vlad = torch.zeros(3, 4)
        for x in image.T:
            x = x / x.norm()
            a = (head.conv.weight[:, :, 0, 0] @ x).softmax(0)
            for k in range(3):  # the last two are ghosts
                vlad[k] += a[k] * x
        expected.append(F.normalize(F.normalize(vlad, dim=1).flatten(), dim=0))
    torch.testing.assert_close(head(features), torch.stack(expected))


def test_supervlad_starts_from_words_as_netvlad_does() -> None:
    words = torch.tensor([[2.0, 0.0], [0.0, 3.0]])
    head = SuperVLAD(SuperVLADSettings(kind="supervlad"), 2, 2)
    head.start(words, 7.0)
    torch.testing.assert_close(head.conv.weight[:, :, 0, 0], 7 * torch.eye(2))


def netvlad_and_linear(features: Tensor) -> tuple[Tensor, NetVLADLinear]:
    torch.manual_seed(1)
    head = NetVLADLinear(NetVLADLinearSettings(kind="netvlad_linear", channels=3), 4, 5)
    nn.init.normal_(head.centroids)
    vlad = NetVLAD(4, 5, "v1")
    vlad.load_state_dict({n: head.state_dict()[n] for n in vlad.state_dict()})
    return vlad(features).unflatten(1, (4, 5)), head


def test_netvlad_linear_shortens_each_word_of_netvlad_alike() -> None:
    features = torch.randn(2, 5, 3, 3)
    words, head = netvlad_and_linear(features)
    weight, bias = head.linear.weight, head.linear.bias
    found = [F.normalize(words[:, k], dim=1) @ weight.T + bias for k in range(4)]
    expected = F.normalize(torch.cat(found, dim=1))
    torch.testing.assert_close(head(features), expected)
