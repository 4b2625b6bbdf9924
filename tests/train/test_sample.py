"""The sample of local descriptors: unit vectors, without replacement, the same for one seed."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from vprlib.images.batches import ImageSource
from vprlib.model.backbones import Normaliser, fingerprint
from vprlib.model.weights import BackboneSettings, starting_backbone
from vprlib.pipeline.params import UserError
from vprlib.pipeline.runtime import RuntimeSettings
from vprlib.train.sample import (
    Sample,
    SampleSettings,
    Wanted,
    choose_images,
    read_sample,
    take_sample,
    write_sample,
)

SLIM = BackboneSettings(name="alexnet", cut="conv5", weights="random")
RESNET = BackboneSettings(name="resnet18", cut="layer4", weights="random")
Take = Callable[..., Sample]


@pytest.fixture
def source(source_of: Callable[..., ImageSource], noise: Callable[..., np.ndarray]) -> ImageSource:
    shapes = [(64, 48), (48, 64), (64, 48), (64, 64), (64, 48)]
    return source_of([noise(row, *shape) for row, shape in enumerate(shapes)])


@pytest.fixture
def take(source: ImageSource, cpu: torch.device, runtime: RuntimeSettings, slim: str) -> Take:
    def of(
        kind: BackboneSettings = SLIM, workers: int = 2, wanted: Wanted = Wanted(), **settings: int
    ) -> Sample:
        backbone = starting_backbone(kind, Path())
        where = runtime.model_copy(update={"workers": workers})
        return take_sample(backbone, kind, source, SampleSettings(**settings), cpu, where, wanted)

    return of


def all_local(source: ImageSource, network: nn.Sequential, row: int) -> np.ndarray:
    """Every unit local descriptor [N, D] of one image, the plain way."""
    with torch.no_grad():
        features = network(Normaliser()(torch.tensor(source.pixels(row)[None])))
    return F.normalize(features[0].flatten(1).T, dim=1).numpy()


def test_a_sample_has_so_many_positions_of_so_many_images(take: Take) -> None:
    sample = take(images=3, positions=4)
    assert sample.descriptors.shape == (12, 8)
    assert sample.descriptors.dtype == np.float32
    rows = np.unique(sample.image_rows)
    assert sample.image_rows.tolist() == np.repeat(rows, 4).tolist()
    assert sample.image_names == [f"{row:03}.jpg" for row in rows]
    np.testing.assert_allclose(np.linalg.norm(sample.descriptors, axis=1), 1, atol=1e-5)


def test_each_descriptor_is_another_position_of_its_image(take: Take, source: ImageSource) -> None:
    sample = take(images=5, positions=5)
    network = starting_backbone(SLIM, Path())
    drawn = set()
    for row in range(5):
        known = all_local(source, network, row)
        found = sample.descriptors[sample.image_rows == row]
        gaps = np.abs(found[:, None] - known[None]).max(axis=2)
        assert gaps.min(axis=1).max() < 1e-5
        assert len(set(gaps.argmin(axis=1))) == len(found)
        drawn.add(tuple(gaps.argmin(axis=1).tolist()))
    assert len(drawn) == 5  # images of one size are not sampled at the same places


def test_where_there_are_fewer_positions_or_images_all_are_taken(
    take: Take, source: ImageSource
) -> None:
    sample = take(images=500, positions=1000)
    network = starting_backbone(SLIM, Path())
    counts = [len(all_local(source, network, row)) for row in range(5)]
    assert np.bincount(sample.image_rows).tolist() == counts


def test_one_seed_gives_one_sample_whatever_the_threads(take: Take) -> None:
    first, again = take(images=3, positions=4), take(images=3, positions=4, workers=4)
    assert first.descriptors.tobytes() == again.descriptors.tobytes()
    other = take(images=3, positions=4, seed=2)
    assert not np.array_equal(first.descriptors, other.descriptors)


def test_images_are_chosen_without_replacement_and_each_as_often() -> None:
    chosen = [choose_images(10, SampleSettings(images=3, seed=seed)) for seed in range(600)]
    assert all((np.diff(rows) > 0).all() for rows in chosen)
    counts = np.bincount(np.concatenate(chosen), minlength=10)
    assert counts.min() > 130
    assert counts.max() < 230
    assert choose_images(2, SampleSettings(images=3)).tolist() == [0, 1]


@pytest.mark.parametrize("kind", [SLIM, RESNET])
def test_a_sample_reads_back_as_it_was_written(
    take: Take, tmp_path: Path, kind: BackboneSettings
) -> None:
    sample = take(kind, images=4, positions=3, seed=9)
    write_sample(tmp_path / "s.h5", sample)
    found = read_sample(tmp_path / "s.h5")
    for name in ("descriptors", "image_rows"):
        np.testing.assert_array_equal(vars(found)[name], vars(sample)[name])
    for name in ("image_names", "set_name", "seed", "backbone"):
        assert vars(found)[name] == vars(sample)[name]
    assert found.statistics.keys() == sample.statistics.keys()
    assert all((found.statistics[n] == v).all() for n, v in sample.statistics.items())


def test_same_sample_gives_the_same_bytes(take: Take, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_sample(tmp_path / name, take(images=3, positions=4))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_network_without_batch_normalisation_has_no_statistics(take: Take) -> None:
    sample = take(images=2, positions=2)
    assert sample.statistics == {}
    assert sample.backbone == fingerprint(starting_backbone(SLIM, Path()))


def test_random_weights_are_calibrated_on_the_sampled_images_before_describing(
    take: Take, source: ImageSource
) -> None:
    sample = take(RESNET, images=5, positions=100)
    network = starting_backbone(RESNET, Path())
    before = network.state_dict()["bn1.running_mean"].clone()
    fitted = {name: torch.from_numpy(values) for name, values in sample.statistics.items()}
    network.load_state_dict({**network.state_dict(), **fitted})
    assert len(fitted) == 40
    assert not torch.equal(network.bn1.running_mean, before)
    found = sample.descriptors[sample.image_rows == 3]
    known = all_local(source, network, 3)
    assert np.abs(found[:, None] - known[None]).max(axis=2).min(axis=1).max() < 1e-4


def test_a_sample_beyond_the_memory_is_refused_before_it_is_taken(
    take: Take, source: ImageSource, cpu: torch.device, slim: str
) -> None:
    little = RuntimeSettings(memory_gib=1e-6)
    backbone = starting_backbone(SLIM, Path())
    with pytest.raises(UserError, match=r"sample\.images 500 × sample\.positions 100 needs .* GiB"):
        take_sample(backbone, SLIM, source, SampleSettings(), cpu, little)


def test_descriptors_keep_their_length_where_the_layer_does_not_normalise(
    take: Take, source: ImageSource
) -> None:
    unit = take(images=5, positions=4)
    whole = take(images=5, positions=4, wanted=Wanted(normalised=False))
    lengths = np.linalg.norm(whole.descriptors, axis=1, keepdims=True)
    assert np.abs(lengths - 1).max() > 0.1
    np.testing.assert_allclose(whole.descriptors / lengths, unit.descriptors, atol=1e-5)


def test_a_pool_without_words_opens_no_image(take: Take, source: ImageSource) -> None:
    for path in source.folder.iterdir():
        path.unlink()
    sample = take(images=5, wanted=Wanted(descriptors=False))
    assert sample.descriptors.shape == (0, 8)
    assert (len(sample.image_rows), sample.image_names, sample.statistics) == (0, [], {})
    assert sample.backbone == fingerprint(starting_backbone(SLIM, Path()))


def test_random_weights_are_calibrated_for_a_pool_without_words_too(take: Take) -> None:
    sample = take(RESNET, images=3, positions=4)
    bare = take(RESNET, images=3, positions=4, wanted=Wanted(descriptors=False))
    assert bare.descriptors.shape == (0, 512)
    assert bare.image_names == sample.image_names
    assert bare.statistics.keys() == sample.statistics.keys()
    assert all((bare.statistics[name] == v).all() for name, v in sample.statistics.items())
