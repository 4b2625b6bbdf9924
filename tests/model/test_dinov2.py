"""DINOv2: timm's own features as a map, from weights in Facebook's naming or in timm's."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import rivals
import torch
from torch import Tensor, nn

from vprlib.model import dinov2
from vprlib.model.backbones import channels, empty_backbone, layer_names, trainable_children
from vprlib.model.heads.token import without_token
from vprlib.model.weights import BackboneSettings, starting_backbone
from vprlib.pipeline.params import UserError

timm = pytest.importorskip("timm")

GRID = 5  # patches a side that the tiny network was trained at


def tiny(name: str) -> nn.Module:
    """A DINOv2 of three blocks, 16 channels wide, with the giant's kind of layers."""
    torch.manual_seed(3)
    network = timm.models.VisionTransformer(
        img_size=14 * GRID,
        patch_size=14,
        embed_dim=16,
        depth=3,
        num_heads=2,
        init_values=0.5,
        num_classes=0,
        mlp_layer=timm.layers.SwiGLUPacked,
        reg_tokens=4 if name.endswith("_reg") else 0,
        no_embed_class=name.endswith("_reg"),
        dynamic_img_size=True,
    )
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    return network.eval()


@pytest.fixture(params=["dinov2_vits14", "dinov2_vits14_reg"])
def name(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a DINOv2 that is built in no time."""
    monkeypatch.setitem(dinov2.NETWORKS, request.param, ("tiny", 16, 3))
    monkeypatch.setattr(dinov2, "_whole", lambda name: tiny(name).to("meta"))
    return request.param


def facebooks(name: str) -> dict[str, Tensor]:
    """The tensors of the tiny network as Facebook's own files name them."""
    tensors = {}
    for key, tensor in tiny(name).state_dict().items():
        key = key.replace("mlp.fc1", "mlp.w12").replace("mlp.fc2", "mlp.w3")
        tensors[key.replace("reg_token", "register_tokens")] = tensor
    if name.endswith("_reg"):  # there the class token has a position of its own
        place = torch.full((1, 1, 16), 0.25)
        tensors["cls_token"] = tensors["cls_token"] - place
        tensors["pos_embed"] = torch.cat([place, tensors["pos_embed"]], dim=1)
    return tensors | {"mask_token": torch.zeros(1, 16)}


def loaded(name: str, cut: str, folder: Path, tensors: dict[str, Tensor]) -> nn.Module:
    torch.save(tensors, folder / "w.pth")
    return starting_backbone(BackboneSettings(name=name, cut=cut, weights="w.pth"), folder)


def image(height: int, width: int) -> Tensor:
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(1))


def facebooks_way(learnt: Tensor, new_size: list[int], **_: object) -> Tensor:
    """The class token's position, and those of the patches by cubic convolution."""
    maps = learnt[:, 1:].mT.unflatten(2, (GRID, GRID))
    down, across = (rivals.bicubic(side, GRID) for side in new_size)
    if list(new_size) != [GRID, GRID]:
        maps = torch.einsum("hi,bdij,wj->bdhw", down, maps, across)
    return torch.cat([learnt[:, :1], maps.flatten(2).mT], dim=1)


@pytest.mark.parametrize("size", [(14 * GRID, 14 * GRID), (56, 98)])
@pytest.mark.parametrize("naming", [facebooks, lambda name: tiny(name).state_dict()])
def test_the_map_holds_timms_own_features_of_the_patches(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    naming: Callable[[str], dict[str, Tensor]],
    size: tuple[int, int],
) -> None:
    """But for the positions, which timm interpolates otherwise than Facebook without registers."""
    if not name.endswith("_reg"):
        monkeypatch.setattr(timm.models.vision_transformer, "resample_abs_pos_embed", facebooks_way)
    network = loaded(name, "norm", tmp_path, naming(name))
    twin = tiny(name)
    with torch.no_grad():
        found, tokens = network(image(*size)), twin.forward_features(image(*size))
    patches = tokens[:, twin.num_prefix_tokens :]
    assert found.shape == (2, channels(name, "norm"), size[0] // 14, size[1] // 14)
    torch.testing.assert_close(found.flatten(2).transpose(1, 2), patches, atol=1e-5, rtol=1e-5)


def test_a_block_is_counted_as_timm_counts_it(tmp_path: Path, name: str) -> None:
    network, twin, seen = loaded(name, "block1", tmp_path, facebooks(name)), tiny(name), []
    twin.blocks[1].register_forward_hook(lambda _, __, output: seen.append(output))
    with torch.no_grad():
        found = network(image(70, 70))
        twin(image(70, 70))
    expected = seen[0][:, twin.num_prefix_tokens :].transpose(1, 2).unflatten(2, (5, 5))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("size", "grid"), [((75, 60), (5, 4)), ((6, 20), (1, 1))])
def test_other_sizes_are_resized_to_the_nearest_multiple_of_a_patch(
    tmp_path: Path, name: str, size: tuple[int, int], grid: tuple[int, int]
) -> None:
    network = loaded(name, "block0", tmp_path, facebooks(name))
    resized = nn.functional.interpolate(
        image(*size), (14 * grid[0], 14 * grid[1]), mode="bilinear", antialias=True
    )
    with torch.no_grad():
        assert network(image(*size)).shape == (2, 16, *grid)
        torch.testing.assert_close(network(image(*size)), network(resized))


def test_the_class_token_stands_above_the_map_if_it_is_wanted(name: str) -> None:
    network, twin = empty_backbone(name, "norm", has_token=True), tiny(name)
    network.load_state_dict(renamed_tiny(name))
    with torch.no_grad():
        token, maps = without_token(network(image(70, 70)))
        expected = twin.forward_features(image(70, 70))
        torch.testing.assert_close(token, expected[:, 0], atol=1e-5, rtol=1e-5)
        assert maps.shape == (2, 16, GRID, GRID)
        for place in range(1, 6):  # any cut between what is frozen and what learns keeps it
            before, after = dinov2.parts(network, place)
            torch.testing.assert_close(after(before(image(70, 56))), network(image(70, 56)))


def renamed_tiny(name: str) -> dict[str, Tensor]:
    return dinov2.renamed(name, facebooks(name))


def test_no_other_backbone_has_a_class_token() -> None:
    sentence = r"needs a class token, which resnet18 does not have: set model\.backbone\.name"
    with pytest.raises(UserError, match=sentence):
        empty_backbone("resnet18", "layer3", has_token=True)


def test_blocks_learn_by_their_names(name: str) -> None:
    assert layer_names(name, "block1") == ["embedding", "block0", "block1"]
    assert trainable_children(name, "norm", "block2") == {"block2", "norm"}
    assert trainable_children(name, "block2", "pool") == set()
    with pytest.raises(UserError, match=f"'block2', but {name} has embedding, block0, block1 and"):
        trainable_children(name, "block1", "block2")
    children = [child for child, _ in empty_backbone(name, "norm").named_children()]
    assert children == layer_names(name, "norm")


def test_an_unknown_block_is_answered_with_all_there_are() -> None:
    sentence = "cut is 'block12', but dinov2_vits14 can be cut after block0 to block11 and norm"
    with pytest.raises(UserError, match=sentence):
        channels("dinov2_vits14", "block12")


@pytest.mark.parametrize("weights", ["imagenet", "random"])
def test_weights_that_are_no_file_are_refused(tmp_path: Path, weights: str) -> None:
    kind = BackboneSettings(name="dinov2_vitb14", cut="block9", weights=weights)
    sentence = rf"is '{weights}', but dinov2_vitb14 needs .* put dinov2_vitb14_pretrain\.pth into"
    with pytest.raises(UserError, match=sentence):
        starting_backbone(kind, tmp_path)


def test_weights_of_the_other_kind_are_refused(tmp_path: Path, name: str) -> None:
    other = "dinov2_vits14" if name.endswith("_reg") else "dinov2_vits14_reg"
    with pytest.raises(UserError, match=rf"registers: set model\.backbone\.name to {other}, or"):
        loaded(name, "norm", tmp_path, facebooks(other))


def test_weights_that_do_not_fit_are_named(tmp_path: Path, name: str) -> None:
    tensors = facebooks(name)
    tensors["blocks.0.attn.qkv.weight"] = torch.ones(3, 16)
    sentence = rf"fit {name}: block0\.attn\.qkv\.weight is \[3, 16\] instead of \[48, 16\]\.$"
    with pytest.raises(UserError, match=sentence):
        loaded(name, "norm", tmp_path, tensors)
    marker = {"register_tokens": torch.ones(1, 4, 16)} if name.endswith("_reg") else {}
    with pytest.raises(UserError, match=rf"do not fit {name}: lacks embedding\.cls_token; "):
        loaded(name, "norm", tmp_path, {"0.weight": torch.ones(2), **marker})


@pytest.mark.parametrize("name", ["dinov2_vits14", "dinov2_vitg14_reg"])
def test_timm_builds_the_networks_of_those_names(name: str) -> None:
    cut = dinov2.kept_children(name, "norm")
    network = dinov2.cut_network(name, "norm")
    assert [child for child, _ in network.named_children()] == cut
    assert network.norm.weight.shape == (channels(name, "norm"),)


def test_without_timm_the_sentence_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UserError, match="'dinov2_vits14', which needs timm: run `pip install timm"):
        empty_backbone("dinov2_vits14", "norm")
