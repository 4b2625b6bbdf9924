"""The starting network: the backbone's own weights, and a pool set from the visual words."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from vprlib.model.backbones import channels, fingerprint, statistics
from vprlib.model.netvlad import alpha_v1, alpha_v2
from vprlib.model.settings import PoolSettings
from vprlib.model.weights import BackboneSettings, starting_backbone
from vprlib.pipeline.params import UserError
from vprlib.train.sample import Sample
from vprlib.train.start import assemble, start_sentence

SLIM = BackboneSettings(name="alexnet", cut="conv5", weights="random")
RESNET = BackboneSettings(name="resnet18", cut="layer4", weights="random")


def words_and_sample(backbone: nn.Sequential, dim: int) -> tuple[np.ndarray, Sample]:
    vectors = np.random.default_rng(1).normal(size=(24, dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    fitted = {name: t.numpy() + 0.25 for name, t in statistics(backbone).items()}
    sample = Sample(vectors[4:], np.arange(20), [], "s", 1, fingerprint(backbone), fitted)
    return 0.9 * vectors[:4], sample


@pytest.mark.parametrize(("version", "alpha_of"), [("v1", alpha_v1), ("v2", alpha_v2)])
def test_the_pool_starts_from_words_and_sample(slim: str, version: str, alpha_of: object) -> None:
    backbone = starting_backbone(SLIM, Path())
    words, sample = words_and_sample(backbone, 8)
    model, alpha = assemble(SLIM, backbone, PoolSettings(version=version), words, sample)
    tensors = torch.from_numpy(words), torch.from_numpy(sample.descriptors)
    assert alpha == pytest.approx(alpha_of(*tensors), rel=1e-5)
    assert torch.equal(model.pool.centroids.detach(), tensors[0])
    assert (model.architecture.clusters, model.architecture.pool.version) == (4, version)
    assert model.dim == 4 * 8


def test_the_backbone_keeps_its_weights(slim: str) -> None:
    backbone = starting_backbone(SLIM, Path())
    words, sample = words_and_sample(backbone, channels(slim, "conv5"))
    model, _ = assemble(SLIM, backbone, PoolSettings(), words, sample)
    assert fingerprint(model.backbone) == fingerprint(backbone)


def test_calibrated_statistics_come_from_the_sample() -> None:
    backbone = starting_backbone(RESNET, Path())
    words, sample = words_and_sample(backbone, 512)
    model, _ = assemble(RESNET, backbone, PoolSettings(), words, sample)
    assert fingerprint(model.backbone) == fingerprint(backbone)
    assert (model.backbone.bn1.running_mean == 0.25).all()
    assert (model.backbone.bn1.running_var == 1.25).all()


def test_weights_that_changed_since_sampling_are_a_sentence(slim: str) -> None:
    backbone = starting_backbone(SLIM, Path())
    words, sample = words_and_sample(backbone, 8)
    other = starting_backbone(SLIM.model_copy(update={"seed": 2}), Path())
    sentence = "the weights 'random' of alexnet changed since .* `dvc repro -f -s sample_features`"
    with pytest.raises(UserError, match=sentence):
        assemble(SLIM, other, PoolSettings(), words, sample)


@pytest.mark.parametrize("kind", ["average", "max", "gem"])
def test_a_pool_without_words_starts_from_its_settings_alone(slim: str, kind: str) -> None:
    backbone = starting_backbone(SLIM, Path())
    nothing = np.zeros((0, 8), np.float32)
    sample = Sample(nothing, np.zeros(0, int), [], "s", 1, fingerprint(backbone), {})
    pool = PoolSettings(kind=kind, gem_p=2.5)
    model, alpha = assemble(SLIM, backbone, pool, nothing, sample)
    assert (alpha, model.architecture.clusters, model.dim) == (None, 0, 8)
    assert fingerprint(model.backbone) == fingerprint(backbone)
    assert dict(model.pool.named_parameters()) == ({"p": 2.5} if kind == "gem" else {})
    said = start_sentence(SLIM, model, alpha)
    assert said == f"model: alexnet (random) with {kind} pooling, 8 dimensions"


def test_alpha_comes_from_descriptors_as_the_layer_sees_them(slim: str) -> None:
    backbone = starting_backbone(SLIM, Path())
    words, sample = words_and_sample(backbone, 8)
    longer = replace(sample, descriptors=5 * sample.descriptors)
    pool = PoolSettings(normalise_input=False)
    _, alpha = assemble(SLIM, backbone, pool, words, sample)
    model, smaller = assemble(SLIM, backbone, pool, words, longer)
    assert smaller == pytest.approx(alpha / 5, rel=1e-5)
    scores = model.pool.conv(torch.from_numpy(longer.descriptors)[:, :, None, None]).flatten(1)
    top = scores.topk(2, dim=1).values
    assert (top[:, 0] - top[:, 1]).mean().exp().item() == pytest.approx(100, rel=1e-3)
