"""Weights of other programs' networks, by the names that they give their tensors."""

from pathlib import Path

import pytest
import torch
import torchvision

from vprlib.model.weights import BackboneSettings, read_tensors, starting_backbone
from vprlib.pipeline.params import UserError

SHARED = Path(__file__).parents[3] / "shared" / "weights"
SQUEEZENET = "squeezenet1_1_features_imagenet.pth"
SLIM = BackboneSettings(name="alexnet", cut="conv5", weights="w.pth")


USUAL = ["", "features.", "module.", "module.features."]
OTHERS = ["encoder.", "encoder.module.", "backbone.", "module.backbone.", "backbone.features."]


@pytest.mark.parametrize("prefix", [*USUAL, *OTHERS])
@pytest.mark.parametrize("more", ["classifier.1.weight", "pool.centroids"])
def test_weights_are_found_below_what_programs_call_the_backbone(
    tmp_path: Path, slim: str, prefix: str, more: str
) -> None:
    kind = SLIM.model_copy(update={"weights": "random", "seed": 5})
    tensors = starting_backbone(kind, Path()).state_dict()
    stored = {prefix + name: t for name, t in tensors.items()}
    torch.save(stored | {more: torch.ones(2)}, tmp_path / "w.pth")
    found = starting_backbone(SLIM, tmp_path).state_dict()
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], t) for name, t in tensors.items())


def test_densenets_published_names_are_understood(tmp_path: Path) -> None:
    tensors = torchvision.models.densenet121(weights=None).state_dict()
    old = {
        n.replace("norm1.", "norm.1.").replace("conv2.", "conv.2.") if "denselayer" in n else n: t
        for n, t in tensors.items()
    }
    torch.save(old, tmp_path / "w.pth")
    kind = BackboneSettings(name="densenet121", cut="denseblock1", weights="w.pth")
    found = starting_backbone(kind, tmp_path).state_dict()
    assert "denseblock1.denselayer1.norm.1.weight" not in found
    assert all(torch.equal(t, tensors[f"features.{name}"]) for name, t in found.items())


def test_networks_without_the_first_imagenet_weights_take_their_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(self: object, **options: object) -> None:
        raise OSError("no network")

    entries = torchvision.models.RegNet_Y_400MF_Weights
    monkeypatch.setattr(entries, "get_state_dict", offline)
    kind = BackboneSettings(name="regnet_y_400mf", cut="stem", weights="imagenet")
    name = entries.IMAGENET1K_V1.url.rpartition("/")[2]
    with pytest.raises(UserError, match=f"put it at {tmp_path}/{name}"):
        starting_backbone(kind, tmp_path)


def test_the_real_squeezenet_has_its_weights() -> None:
    if not (SHARED / SQUEEZENET).exists():
        pytest.skip(f"{SQUEEZENET} is not on this machine")
    for cut in ("fire9", "12"):
        kind = BackboneSettings(name="squeezenet1_1", cut=cut, weights=SQUEEZENET)
        network = starting_backbone(kind, SHARED)
        with torch.no_grad():
            found = network(torch.zeros(1, 3, 240, 320))
        assert found.shape == (1, 512, 14, 19)  # a position every 16 pixels
    stored = read_tensors(SHARED / SQUEEZENET)
    assert all(torch.equal(t, stored[name]) for name, t in network.state_dict().items())
