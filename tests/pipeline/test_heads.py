"""Heads go through the stages as NetVLAD does: started, trained and described."""

import h5py
import numpy as np
import pytest
import rivals
import small_dinov2
import torch
import toy
from staged import EXTRACT, MODEL, SET, TRAIN, VARIANT, VECTORS, to_model

from vprlib.model.model import read_history, read_model
from vprlib.pipeline import paths

HEADS = {
    "gem_fc": ({"dimensions": 6}, 6),
    "convap": ({"channels": 3}, 12),
    "mixvpr": ({"map": [3, 4], "blocks": 1, "channels": 4, "rows": 2}, 8),
    "boq": ({"channels": 8, "queries": 2, "blocks": 1, "rows": 2}, 16),
    "supervlad": ({"ghosts": 1}, 512),
    "netvlad_linear": ({"channels": 4}, 12),
}
LEARNING = {"learning_rate": 0.1, "margin": 1.0, "keep": "last"}
QUICK = ("boq", "netvlad_linear")
SALAD = {"clusters": 4, "channels": 3, "token": 5, "hidden": 16, "linear": 7}


def use(here, pool: dict) -> None:
    tree = toy.params()
    tree["model"]["pool"] = pool
    tree["train"].update(first_layer="pool", **LEARNING)
    toy.write_params(here, tree)


@pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, marks=() if kind in QUICK else pytest.mark.slow) for kind in HEADS],
)
def test_a_head_goes_through_all_stages(here, run, kind):
    own, dim = HEADS[kind]
    use(here, {"kind": kind, **own})
    to_model(run)
    started = MODEL.read_bytes()
    said = run("init_model", SET)
    assert f" {kind}" in said and f", {dim} dimensions" in said
    assert MODEL.read_bytes() == started
    run("train", *TRAIN)
    before, after = (read_model(p).pool.state_dict() for p in (MODEL, paths.model("trained")))
    assert any(not torch.equal(before[name], after[name]) for name in before)
    run("extract_db", *EXTRACT)
    with h5py.File(VECTORS["db"]) as file:
        norms = np.linalg.norm(file["descriptors"][:], axis=1)
        assert file["descriptors"].shape == (12, dim)
    assert norms == pytest.approx(np.ones(12), abs=1e-5)


@pytest.mark.parametrize("kind", ["supervlad", "netvlad_linear"])
def test_a_head_with_words_starts_from_them_as_netvlad_does(here, run, kind):
    use(here, {"kind": kind})
    to_model(run)
    with h5py.File(paths.CENTROIDS) as file:
        words = torch.from_numpy(file["centroids"][:])
    alpha = read_history(MODEL)["alpha"]
    expected = alpha * torch.nn.functional.normalize(words, dim=1)
    found = read_model(MODEL).pool.conv.weight.detach()[:, :, 0, 0]
    torch.testing.assert_close(found, expected)


def test_the_class_token_passes_through_caches_and_stages(here, run, monkeypatch):
    small_dinov2.install(monkeypatch)
    paths.WEIGHTS.mkdir()
    torch.save(small_dinov2.twin().state_dict(), paths.WEIGHTS / "dino.pth")
    tree, trained = toy.params(), set()
    backbone = {"name": small_dinov2.NAME, "cut": "norm", "weights": "dino.pth", "seed": 1}
    tree["model"] = {"backbone": backbone, "pool": {"kind": "salad", **SALAD}}
    tree["train"].update(first_layer="block1", **LEARNING)
    toy.write_params(here, tree)
    to_model(run)
    for cache in (50.0, 0.0):
        tree["runtime"]["cache_gib"] = cache
        toy.write_params(here, tree)
        run("train", *TRAIN)
        trained.add(paths.model("trained").read_bytes())
    assert len(trained) == 1 and trained != {MODEL.read_bytes()}
    before, after = (read_model(p).pool.state_dict() for p in (MODEL, paths.model("trained")))
    assert all(not torch.equal(before[name], after[name]) for name in before)
    run("extract_db", SET, VARIANT)
    with h5py.File(VECTORS["db"]) as file:
        assert file["descriptors"].shape == (12, 7)


def test_other_sizes_of_a_head_are_other_parameters(here, run, refused):
    use(here, {"kind": "gem_fc", "dimensions": 6, "version": "v1"})
    said = refused("init_model", SET)
    assert "model.pool has no 'version'; did you mean 'dimensions'? (there are: kind" in said
    use(here, {"kind": "gemfc"})
    assert "model.pool.kind is 'gemfc'; did you mean 'gem_fc'?" in refused("init_model", SET)


def test_mixvpr_refuses_images_of_another_size(here, run, refused):
    use(here, {"kind": "mixvpr", "map": [5, 5]})
    to_model(run)
    said = refused("extract_db", *EXTRACT)
    assert "MixVPR needs feature maps of 5×5 positions" in said and "give 3×4" in said


def test_a_head_with_a_class_token_refuses_a_network_without_one(here, run, refused):
    use(here, {"kind": "salad"})
    for stage in ("parse_mat", "sample_features", "kmeans_centroids"):
        run(stage, SET)
    assert "needs a class token, which alexnet does not have" in refused("init_model", SET)


@pytest.mark.slow
def test_a_published_network_is_loaded_described_and_trained_further(here, run, monkeypatch):
    small_dinov2.install(monkeypatch)
    paths.WEIGHTS.mkdir()
    head = rivals.randomised(rivals.Salad(small_dinov2.DIM, 8, 3, 5, 16))
    tensors = {f"backbone.model.{n}": t for n, t in small_dinov2.twin().state_dict().items()}
    tensors |= {f"aggregator.{n}": t for n, t in head.state_dict().items()}
    torch.save({"state_dict": tensors}, paths.WEIGHTS / "salad.ckpt")
    tree = toy.params() | {"networks": {"salad": {"file": "salad.ckpt"}}}
    tree["train"].update(first_layer="pool", **LEARNING)
    toy.write_params(here, tree)
    run("parse_mat", SET)
    said = run("load_model", "salad")
    assert "a published network (SALAD): dinov2_vitb14 (norm), salad, 29 dimensions" in said
    run("train", SET, SET, "salad")
    given, trained = read_model(paths.model("salad")), read_model(paths.model("trained"))
    assert trained.architecture == given.architecture and trained.architecture.size == (322, 322)
    assert not torch.equal(trained.pool.dustbin, given.pool.dustbin)
    run("extract_db", SET, "trained")
    with h5py.File(paths.descriptors(SET, "trained", "full", "db")) as file:
        assert file["descriptors"].shape == (12, 29)
