"""A whole network as the start: it agrees with the recipe, or one sentence says where not."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from vprlib.interop.networks import read_network
from vprlib.model.model import Architecture, PlaceModel, write_model
from vprlib.model.settings import PoolSettings
from vprlib.pipeline.params import UserError
from vprlib.train.start import read_start

V1 = PoolSettings(version="v1")
WANTED = Architecture("alexnet", "conv5", V1, 4)


def saved(path: Path, architecture: Architecture) -> PlaceModel:
    torch.manual_seed(1)
    model = PlaceModel(architecture)
    write_model(path, model, {"epoch": 3, "best_score": 0.5})
    return model


def test_a_start_that_agrees_is_taken_with_its_history(tmp_path: Path, slim: str) -> None:
    model = saved(tmp_path / "m", WANTED)
    found = read_start(tmp_path / "m", WANTED, "keep")
    assert found.model.architecture == WANTED
    assert found.history == {"epoch": 3, "best_score": 0.5}
    assert torch.equal(found.model.pool.conv.weight, model.pool.conv.weight)


def test_its_own_whitening_is_kept_frozen_or_dropped(tmp_path: Path, slim: str) -> None:
    own = replace(WANTED, whitening=5, mean=(0.1, 0.2, 0.3))
    model = saved(tmp_path / "m", own)
    kept = read_start(tmp_path / "m", WANTED, "keep").model
    assert kept.dim == 5 and not any(p.requires_grad for p in kept.whitening.parameters())
    dropped = read_start(tmp_path / "m", WANTED, "drop").model
    assert dropped.whitening is None and dropped.dim == 4 * 8
    assert dropped.architecture == replace(own, whitening=None)
    for name, tensor in dropped.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name])


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        (
            replace(WANTED, clusters=16),
            r"m has K=16, but kmeans\.clusters is 4: set it to 16 in params\.yaml, or take another",
        ),
        (
            replace(WANTED, pool=PoolSettings(version="v2")),
            r"m has version=v2, but model\.pool\.version is v1: set it to v2",
        ),
        (
            replace(WANTED, pool=PoolSettings(intra_normalise=False)),
            r"has intra_normalise=false, but model\.pool\.intra_normalise is true",
        ),
        (
            replace(WANTED, pool=PoolSettings(kind="gem"), clusters=0),
            r"has pool=gem, but model\.pool\.kind is netvlad: set it to gem",
        ),
    ],
)
def test_a_start_that_differs_from_the_recipe_is_told(
    tmp_path: Path, slim: str, found: Architecture, problem: str
) -> None:
    saved(tmp_path / "m", found)
    with pytest.raises(UserError, match=problem):
        read_start(tmp_path / "m", WANTED, "keep")


def test_another_backbone_is_told(tmp_path: Path, slim: str) -> None:
    saved(tmp_path / "m", WANTED)
    wanted = Architecture("vgg16", "conv5_3", V1, 4)
    with pytest.raises(
        UserError, match=r"has backbone=alexnet, but model\.backbone\.name is vgg16"
    ):
        read_start(tmp_path / "m", wanted, "keep")


def test_the_learnt_exponent_of_gem_need_not_be_the_recipes(tmp_path: Path, slim: str) -> None:
    saved(tmp_path / "m", replace(WANTED, pool=PoolSettings(kind="gem", gem_p=2.5), clusters=0))
    wanted = replace(WANTED, pool=PoolSettings(kind="gem", version="v2"))
    assert read_start(tmp_path / "m", wanted, "keep").model.pool.p.item() == 2.5


def test_what_is_no_network_is_told(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("hello")
    with pytest.raises(UserError, match=r"a is no network, which is .* but something else"):
        read_network(tmp_path / "a")
    with pytest.raises(UserError, match=r"b cannot be read \(no such file or directory\): put or"):
        read_network(tmp_path / "b")
    with pytest.raises(UserError, match=r"cannot be read \(is a directory\)"):
        read_network(tmp_path)
