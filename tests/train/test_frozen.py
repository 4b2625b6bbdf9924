"""The network in two halves: the same bytes with the cache and without, whatever learns."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from vprlib.images.batches import ImageSource
from vprlib.model import precision
from vprlib.model.backbones import empty_backbone, parts
from vprlib.model.model import Architecture, PlaceModel
from vprlib.model.settings import PoolSettings
from vprlib.pipeline.cache import NO_CACHE, Cache
from vprlib.pipeline.params import UserError
from vprlib.train.augmentation import Change
from vprlib.train.frozen import CachedSource, LoadedImage, SplitNetwork

Noise = Callable[..., np.ndarray]
SIZES = [(64, 48), (48, 64), (64, 48), (64, 48), (80, 80)]


@pytest.fixture
def source(source_of: Callable[..., ImageSource], noise: Noise) -> ImageSource:
    return source_of([noise(row, *size) for row, size in enumerate(SIZES)])


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache", 2**30, lambda sentence: None)


def a_model(pool: str = "average", name: str = "alexnet", cut: str = "conv5") -> PlaceModel:
    return PlaceModel(Architecture(name, cut, PoolSettings(kind=pool)))


def network(
    first: str = "conv4", stored: str = "float32", precision: str = "float32"
) -> SplitNetwork:
    return SplitNetwork(a_model(), first, precision, stored)


def described(one: SplitNetwork, images: list[LoadedImage]) -> torch.Tensor:
    with torch.no_grad():
        return one.describe(images)


@pytest.mark.parametrize("first", ["conv1", "conv3", "conv5", "pool"])
def test_both_halves_are_the_network(slim: str, source: ImageSource, first: str) -> None:
    one = network(first)
    pixels = [source.pixels(row) for row in range(5)]
    found = described(one, [LoadedImage(p) for p in pixels])
    for row, image in enumerate(pixels):
        with torch.no_grad():
            whole = one.model(torch.tensor(image[None]))[0]
        torch.testing.assert_close(found[row], whole, atol=1e-6, rtol=0)
    assert (one.frozen is None) == (first == "conv1")


@pytest.mark.parametrize("stored", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("first", ["conv1", "conv4", "pool"])
def test_with_a_cache_and_without_the_bytes_are_the_same(
    slim: str, source: ImageSource, cache: Cache, first: str, stored: str
) -> None:
    one = network(first, stored)
    plain, kept = CachedSource(source, one, NO_CACHE), CachedSource(source, one, cache)
    orders = ([0, 2, 4, 1, 3], [3], [2, 0], [1, 4, 3])
    for order in orders:  # each batch another company
        found = [described(one, [cached.load(row) for row in order]) for cached in (plain, kept)]
        assert torch.equal(*found)
    again = [kept.load(row) for row in range(5)]
    assert [image.is_map for image in again] == [first != "conv1"] * 5
    assert all(kept.file.get(row) is not None for row in range(5))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_real_networks_give_an_image_the_same_map_in_any_batch(
    source_of: Callable[..., ImageSource], noise: Noise, cache: Cache, precision: str
) -> None:
    source = source_of([noise(row, 64, 48) for row in range(6)])
    model = PlaceModel(Architecture("vgg11", "conv4_2", PoolSettings(kind="average")))
    one = SplitNetwork(model, "conv4_1", precision, "float32")
    kept, plain = CachedSource(source, one, cache), CachedSource(source, one, NO_CACHE)
    described(one, [kept.load(row) for row in range(6)])
    for order in ([5], [0, 1], [2, 3, 4, 5], [4, 0, 5]):
        found = [described(one, [cached.load(row) for row in order]) for cached in (plain, kept)]
        assert torch.equal(*found)


def test_a_stored_map_is_what_the_first_learning_layer_takes(
    slim: str, source: ImageSource, cache: Cache
) -> None:
    one = network("conv4")
    cached = CachedSource(source, one, cache)
    described(one, [cached.load(0)])
    model = a_model()
    before, _ = parts(model.backbone, {"8", "9", "10"})
    with torch.no_grad():
        expected = before(model.normalise(torch.tensor(source.pixels(0)[None])))[0]
    torch.testing.assert_close(torch.from_numpy(cached.file.get(0)).permute(2, 0, 1), expected)
    assert one.map_shape(64, 48) == cached.file.get(0).shape


def test_stored_precision_rounds_and_halves_the_size(slim: str, source: ImageSource) -> None:
    found = {
        stored: described(network("conv4", stored), [LoadedImage(source.pixels(0))])
        for stored in ("float32", "float16", "bfloat16")
    }
    errors = [(found["float32"] - found[s]).abs().max() for s in ("float16", "bfloat16")]
    assert 0 < errors[0] < errors[1] < 0.02
    specs = [
        CachedSource(source, network("conv4", s), NO_CACHE).spec for s in ("float32", "bfloat16")
    ]
    assert specs[0].bytes == 2 * specs[1].bytes > 0


def test_a_feature_beyond_float16_is_a_sentence(slim: str, source: ImageSource) -> None:
    one = network("conv4", "float16")
    one.model.backbone[0].weight.data.mul_(1e9)
    with pytest.raises(UserError, match=r"too large for float16: set train\.stored to bfloat"):
        described(one, [LoadedImage(source.pixels(0))])


def test_changed_images_are_never_taken_from_the_cache_nor_put_into_it(
    slim: str, source: ImageSource, cache: Cache
) -> None:
    one = network("conv4")
    cached = CachedSource(source, one, cache)
    mirrored = cached.load(0, Change(is_mirrored=True))
    assert np.array_equal(mirrored.values, source.pixels(0)[:, ::-1])
    described(one, [mirrored])
    assert cached.file.get(0) is None
    described(one, [cached.load(0)])
    assert not cached.load(0, Change(scale=0.5)).is_map


def test_decoded_pixels_are_changed_after_they_were_stored(
    slim: str, source: ImageSource, cache: Cache
) -> None:
    cached = CachedSource(source, network("conv1"), cache)
    first = cached.load(1, Change(is_mirrored=True)).values
    (source.folder / source.index.names[1]).unlink()
    assert np.array_equal(cached.load(1, Change(is_mirrored=True)).values, first)
    assert np.array_equal(cached.load(1).values, first[:, ::-1])


def keys(source: ImageSource) -> Iterator[str]:
    """Of everything that a stored map must not be taken for."""
    yield CachedSource(source, network("conv4"), NO_CACHE).spec.key
    for first, stored, wanted in [
        ("conv5", "float32", "float32"),
        ("conv1", "float32", "float32"),
        ("conv4", "float16", "float32"),
        ("conv4", "float32", "bfloat16"),
    ]:
        yield CachedSource(source, network(first, stored, wanted), NO_CACHE).spec.key
    other = network("conv4")
    other.model.backbone[0].weight.data[0, 0, 0, 0] += 1e-6
    yield CachedSource(source, other, NO_CACHE).spec.key
    model = PlaceModel(
        Architecture("alexnet", "conv5", PoolSettings(kind="average"), mean=(0,) * 3)
    )
    yield CachedSource(
        source, SplitNetwork(model, "conv4", "float32", "float32"), NO_CACHE
    ).spec.key
    yield CachedSource(source.take(np.arange(4)), network("conv4"), NO_CACHE).spec.key
    resized = ImageSource(
        source.index, source.folder, source.settings.model_copy(update={"resize": 40})
    )
    yield CachedSource(resized, network("conv4"), NO_CACHE).spec.key


def test_a_key_changes_with_all_that_a_map_depends_on(slim: str, source: ImageSource) -> None:
    found = list(keys(source))
    assert len(set(found)) == len(found) == 9


def test_a_key_stays_when_layers_that_learn_change(slim: str, source: ImageSource) -> None:
    """So the next experiment with another rate, margin or number of words finds it."""
    one, other = network("conv4"), network("conv4")
    other.model.backbone[8].weight.data.mul_(2)
    words = PlaceModel(Architecture("alexnet", "conv5", PoolSettings(), 7))
    third = SplitNetwork(words, "conv4", "float32", "float32")
    assert len({CachedSource(source, h, NO_CACHE).spec.key for h in (one, other, third)}) == 1


def test_the_key_of_auto_is_that_of_the_precision_it_means(
    slim: str, source: ImageSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    def key(wanted: str) -> str:
        return CachedSource(source, network("conv4", "float32", wanted), NO_CACHE).spec.key

    for has, word in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr(precision, "has_bfloat16", lambda device, has=has: has)
        assert key("auto") == key(word)


@pytest.mark.parametrize("name", ["dinov2_vits14", "dinov2_vits14_reg"])
def test_transformers_can_be_parted_at_any_block(name: str) -> None:
    pytest.importorskip("timm")
    network, image = empty_backbone(name, "block2"), torch.rand(2, 3, 100, 60)
    with torch.no_grad():
        whole = network(image)
        for learning in [{"block0", "block1", "block2"}, {"block2"}, set()]:
            before, after = parts(network, learning)
            maps = before(image)
            assert maps.dim() == 4
            assert torch.equal(after(maps), whole)
