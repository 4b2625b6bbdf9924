"""Published networks: files with the original names, from twins, give the twins' descriptors."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import rivals
import safetensors.torch
import small_dinov2
import torch
import torchvision
import torchvision.transforms.functional as tv
from small_dinov2 import DIM
from torch import Tensor, nn

from vprlib.interop.networks import describe, read_network
from vprlib.interop.port import write_checkpoint
from vprlib.model.heads.settings import GemFCSettings
from vprlib.model.model import Architecture, PlaceModel, read_model, write_model
from vprlib.pipeline.params import UserError

MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
BILINEAR, BICUBIC = tv.InterpolationMode.BILINEAR, tv.InterpolationMode.BICUBIC


@dataclass(frozen=True)
class Twin:
    """The tensors of a file, and what its network does with normalised images."""

    tensors: dict[str, Tensor]
    network: Callable[[Tensor], Tensor]
    size: tuple[int, int] | None = None
    resample: tv.InterpolationMode = BILINEAR

    def described(self, pixels: Tensor) -> Tensor:
        images = ((pixels / 255 - MEAN) / STD).permute(0, 3, 1, 2)
        if self.size is not None:
            images = tv.resize(images, [*self.size], self.resample, antialias=True)
        with torch.no_grad():
            return self.network(images)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    small_dinov2.install(monkeypatch)


def prefixed(prefix: str, network: nn.Module | dict[str, Tensor]) -> dict[str, Tensor]:
    state = network.state_dict() if isinstance(network, nn.Module) else network
    return {prefix + name: tensor for name, tensor in state.items()}


def pixels(height: int = 84, width: int = 70, count: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(4)
    return torch.randint(0, 256, (count, height, width, 3), generator=generator).byte()


def with_dino(
    head: nn.Module, wrapper: str, has_norm: bool = True, wants_token: bool = True, **how: object
) -> Twin:
    dino = small_dinov2.twin()
    head = rivals.randomised(head)

    def network(images: Tensor) -> Tensor:
        maps, token = dino(images, has_norm)
        return head((maps, token) if wants_token else maps)

    tensors = prefixed(f"backbone.{wrapper}", dino) | prefixed("aggregator.", head)
    return Twin(tensors, network, **how)


def salad() -> Twin:
    return with_dino(rivals.Salad(DIM, 8, 6, 5, 16), "model.", size=(322, 322))


def megaloc() -> Twin:
    inner = rivals.Salad(DIM, 8, 6, 5, 16)
    return with_dino(rivals.WithLinear(inner, 53, 20), "model.")


def megaloc_plain() -> Twin:
    """As in the file for Hugging Face, where the backbone has no wrapper."""
    twin = megaloc()
    renamed = {n.replace("backbone.model.", "backbone."): t for n, t in twin.tensors.items()}
    return Twin(renamed, twin.network)


def salad_of_openvprlab() -> Twin:
    """Which leaves DINOv2's last normalisation out."""
    return with_dino(rivals.Salad(DIM, 8, 6, 5, 16), "dino.", has_norm=False, size=(322, 322))


def boq_dino() -> Twin:
    head = rivals.BoQ(DIM, 64, 5, 2, 3)
    how = {"has_norm": False, "wants_token": False, "size": (322, 322), "resample": BICUBIC}
    return with_dino(head, "dino.", **how)


def boq_dino_without_norm() -> Twin:
    twin = boq_dino()
    kept = {n: t for n, t in twin.tensors.items() if not n.startswith("backbone.dino.norm.")}
    return Twin(kept, twin.network, twin.size, twin.resample)


def layers(name: str, last: int) -> nn.Sequential:
    """A ResNet up to layer `last`, as a list of its children."""
    whole = rivals.randomised(torchvision.models.get_model(name), seed=6)
    return nn.Sequential(*list(whole.children())[: 4 + last])


TORCHVISION = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")


def as_torchvision(body: nn.Sequential) -> dict[str, Tensor]:
    named = zip(TORCHVISION, body, strict=False)
    return {f"{n}.{key}": t for n, child in named for key, t in child.state_dict().items()}


def in_halves(body: nn.Sequential) -> dict[str, Tensor]:
    """As older files of BoQ hold a ResNet: the first layers frozen, the last one not."""
    stem, *rest = body[:4], *body[4:]
    halves = nn.Sequential(stem, *rest[:-1]), nn.Sequential(rest[-1])
    return prefixed("frozen_layers.", halves[0]) | prefixed("unfrozen_layers.", halves[1])


def with_resnet(
    name: str, last: int, head: nn.Module, naming: Callable[..., dict], prefix: str, **how: object
) -> Twin:
    body, head = layers(name, last), rivals.randomised(head)
    tensors = prefixed(f"backbone.{prefix}", naming(body)) | prefixed("aggregator.", head)
    return Twin(tensors, nn.Sequential(body, head), **how)


def mixvpr() -> Twin:
    head = rivals.MixVPR(1024, 4, 4, 6, 3)
    return with_resnet("resnet50", 3, head, as_torchvision, "model.", size=(64, 64))


def mixvpr_with_more() -> Twin:
    """Also the layers that it does not use."""
    twin = mixvpr()
    whole = torchvision.models.resnet50()
    more = {n: t for n, t in whole.state_dict().items() if n.startswith(("layer4.", "fc."))}
    return Twin(twin.tensors | prefixed("backbone.model.", more), twin.network, twin.size)


def boq_list() -> Twin:
    head, how = rivals.BoQ(256, 64, 5, 2, 3), {"size": (384, 384), "resample": BICUBIC}
    return with_resnet("resnet18", 3, head, lambda b: b.state_dict(), "net.", **how)


def boq_halves() -> Twin:
    head, how = rivals.BoQ(256, 64, 5, 2, 3), {"size": (384, 384), "resample": BICUBIC}
    return with_resnet("resnet18", 3, head, in_halves, "", **how)


def convap() -> Twin:
    head = rivals.ConvAP(512, 7)
    return with_resnet("resnet18", 4, head, as_torchvision, "model.", size=(320, 320))


def cosplace(name: str) -> Callable[[], Twin]:
    def twin() -> Twin:
        if name == "vgg16":
            body = rivals.randomised(torchvision.models.vgg16().features[:-2], seed=6)
        else:
            body = layers(name, 4)
        head = rivals.randomised(rivals.GemFC(512 if name in ("vgg16", "resnet18") else 2048, 9))
        tensors = prefixed("backbone.", body) | prefixed("aggregation.", head)
        return Twin(tensors, nn.Sequential(body, head))

    return twin


TWINS = {
    "salad": (salad, "SALAD", "dinov2_vitb14 (norm), salad, 53 dimensions"),
    "salad openvprlab": (
        salad_of_openvprlab,
        "SALAD",
        "dinov2_vitb14 (block1), salad, 53 dimensions",
    ),
    "megaloc": (megaloc, "MegaLoc", "dinov2_vitb14 (norm), salad, 20 dimensions"),
    "megaloc plain": (megaloc_plain, "MegaLoc", "dinov2_vitb14 (norm), salad, 20 dimensions"),
    "boq dino": (boq_dino, "BoQ", "dinov2_vitb14 (block1), boq, 192 dimensions"),
    "boq no norm": (boq_dino_without_norm, "BoQ", "dinov2_vitb14 (block1), boq, 192 dimensions"),
    "mixvpr": (mixvpr, "MixVPR", "resnet50 (layer3), mixvpr, 18 dimensions"),
    "mixvpr more": (mixvpr_with_more, "MixVPR", "resnet50 (layer3), mixvpr, 18 dimensions"),
    "boq list": (boq_list, "BoQ", "resnet18 (layer3), boq, 192 dimensions"),
    "boq halves": (boq_halves, "BoQ", "resnet18 (layer3), boq, 192 dimensions"),
    "convap": (convap, "ConvAP", "resnet18 (layer4), convap, 28 dimensions"),
    **{
        f"cosplace {name}": (
            cosplace(name),
            "CosPlace or EigenPlaces",
            f"{name} ({cut}), gem_fc, 9 dimensions",
        )
        for name, cut in (("vgg16", "conv5_3"), ("resnet18", "layer4"), ("resnet101", "layer4"))
    },
}


def saved(folder: Path, tensors: dict[str, Tensor]) -> Path:
    torch.save(tensors, folder / "published.pth")
    return folder / "published.pth"


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow if "101" in n or "more" in n else ()) for n in TWINS],
)
def test_a_published_file_gives_the_descriptors_of_its_network(tmp_path: Path, name: str) -> None:
    make, whose, words = TWINS[name]
    twin = make()
    network = read_network(saved(tmp_path, twin.tensors))
    assert describe(network) == f"published network ({whose}): {words}"
    assert network.model.architecture.size == twin.size  # that its authors resize images to
    with torch.no_grad():
        found = network.model(pixels())
    torch.testing.assert_close(found, twin.described(pixels()), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda tensors: {"epoch": 3, "state_dict": tensors},
        lambda tensors: {"model_state_dict": prefixed("module.", tensors)},
        lambda tensors: prefixed("model.", tensors) | {"loss_fn.weight": torch.ones(2)},
        lambda tensors: tensors | {"backbone.layer4": None, "backbone.fc": None},
        lambda tensors: {n: t for n, t in tensors.items() if "num_batches" not in n},
        lambda tensors: {n: t.half() if t.ndim == 4 else t for n, t in tensors.items()},
    ],
)
def test_what_wraps_a_published_network_is_taken_off(
    tmp_path: Path, wrap: Callable[[dict[str, Tensor]], dict]
) -> None:
    twin = cosplace("resnet18")()
    model = read_network(saved(tmp_path, wrap(twin.tensors))).model
    with torch.no_grad():
        error = (model(pixels()) - twin.described(pixels())).abs().max()
    assert error < 2e-3


def test_safetensors_are_read_and_a_model_file_keeps_all_of_it(tmp_path: Path) -> None:
    twin = salad()
    content = {n: t.clone().contiguous() for n, t in twin.tensors.items()}
    safetensors.torch.save_file(content, tmp_path / "model.safetensors")
    model = read_network(tmp_path / "model.safetensors").model
    write_model(tmp_path / "ours.safetensors", model, {})
    again = read_model(tmp_path / "ours.safetensors")
    assert again.architecture == model.architecture
    assert (again.architecture.size, again.architecture.resample) == ((322, 322), "bilinear")
    with torch.no_grad():
        assert torch.equal(again(pixels()), model(pixels()))
        found = read_network(tmp_path / "ours.safetensors").model(pixels())
    torch.testing.assert_close(found, twin.described(pixels()), atol=1e-5, rtol=0)


def test_sides_that_are_no_multiples_of_14_are_resized(tmp_path: Path) -> None:
    twin = megaloc()
    model = read_network(saved(tmp_path, twin.tensors)).model
    assert model.architecture.size is None
    resized = Twin(twin.tensors, twin.network, size=(84, 56))
    with torch.no_grad():
        found = model(pixels(79, 60))
    torch.testing.assert_close(found, resized.described(pixels(79, 60)), atol=1e-5, rtol=0)


def without(tensors: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key: tensor for key, tensor in tensors.items() if key != name}


@pytest.mark.parametrize(
    ("make", "change", "sentence"),
    [
        (
            cosplace("resnet18"),
            lambda t: without(t, "backbone.4.0.conv1.weight"),
            r"does not fit resnet18: it lacks backbone\.layer1\.0\.conv1\.weight\.",
        ),
        (
            cosplace("resnet18"),
            lambda t: t | {"aggregation.3.weight": torch.ones(9, 600)},
            r"pool\.fc\.weight is \[9, 600\] instead of \[9, 512\]",
        ),
        (
            cosplace("resnet18"),
            lambda t: without(t, "aggregation.3.weight"),
            "has an aggregator that cannot be read: 'fc.weight'",
        ),
        (
            mixvpr,
            lambda t: t | {"aggregator.row_proj.weight": torch.ones(3, 15)},
            "15 positions are no square map",
        ),
        (
            salad,
            lambda t: t | {"aggregator.extra.weight": torch.ones(3)},
            r"pool\.extra\.weight has no place",
        ),
        (
            salad,
            lambda t: t | {"encoder.weight": torch.ones(3)},
            r"encoder\.weight belongs neither to the backbone nor to the aggregator",
        ),
        (
            salad,
            lambda t: without(t, "aggregator.dust_bin"),
            r"its tensors \(.*\) are of none of GeM with a linear layer, ConvAP",
        ),
        (
            salad,
            lambda t: t | {"backbone.model.blocks.2.norm1.weight": torch.ones(DIM)},
            "has a vision transformer of 3 blocks and 64 channels, which is none of dinov2_vits14",
        ),
        (
            salad,
            lambda t: {n: v for n, v in t.items() if ".blocks." not in n and "pos_embed" not in n},
            "has a vision transformer of 0 blocks",
        ),
        (
            convap,
            lambda t: {n: v for n, v in t.items() if ".layer1." not in n},
            "has a backbone with conv1.weight, .* which is none of resnet18",
        ),
        (
            salad,
            lambda t: t | {"backbone.model.cls_token": torch.tensor(1.0)},
            "has a backbone that cannot be read: tuple index out of range",
        ),
        (
            salad,
            lambda t: {n: v[:1] if "patch_embed" in n else v for n, v in t.items()},
            r"embedding\.patch_embed\.proj\.weight is \[1, 3, 14, 14\] instead of \[64, 3, 14, 14",
        ),
        (
            mixvpr,
            lambda t: t | {"aggregator.mix.99999.mix.0.weight": torch.ones(1)},
            r"does not fit resnet50: it lacks pool\.mixers\.4\.norm\.weight",
        ),
        (  # a linear layer of 2**47 weights
            megaloc,
            lambda t: (
                t
                | {"aggregator.linear.weight": torch.ones(2**16, 1)}
                | {"aggregator.agg.cluster_features.3.weight": torch.ones(2**16, 1, 1, 1)}
                | {"aggregator.agg.score.3.weight": torch.ones(2**15, 1, 1, 1)}
            ),
            r"pool\.local\.3\.weight is \[65536, 1, 1, 1\] instead of \[65536, 16, 1, 1\]",
        ),
        (
            cosplace("resnet18"),
            lambda t: t | {"aggregation.3.bias": torch.full((9,), torch.nan)},
            r"pool\.fc\.bias is not finite",
        ),
    ],
)
def test_a_file_that_does_not_fit_is_one_sentence(
    tmp_path: Path, make: Callable[[], Twin], change: Callable[..., dict], sentence: str
) -> None:
    path = saved(tmp_path, change(make().tensors))
    with pytest.raises(UserError, match=sentence) as caught:
        read_network(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_the_port_cannot_hold_it(tmp_path: Path, slim: str) -> None:
    model = PlaceModel(Architecture(slim, "conv5", GemFCSettings(kind="gem_fc")))
    with pytest.raises(UserError, match="the PyTorch port cannot hold the pool gem_fc"):
        write_checkpoint(tmp_path / "c.pth", model, {})
