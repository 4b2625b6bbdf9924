"""Gradients of a batch, pass by pass, are those of the whole batch at once."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from training import VIEWS, a_model

from vprlib.model.heads.dropout import dropping_out
from vprlib.model.model import PlaceModel
from vprlib.pipeline.cache import NO_CACHE
from vprlib.pipeline.draws import Draw, generator
from vprlib.pipeline.group import ALONE
from vprlib.train.augmentation import Change, changed
from vprlib.train.data import TrainingData
from vprlib.train.frozen import CachedSource, SplitNetwork
from vprlib.train.gradients import Loss
from vprlib.train.places.gradients import MOST_PARTS, Batch, BatchGradients
from vprlib.train.places.shots import Shots, shots_of
from vprlib.train.places.similarity import PlaceLoss, similarity_loss
from vprlib.train.settings import PlacesSettings

ROWS = np.array([0, 1, 2, 3, 4, 5, 6, 7, 8])  # three images of three places
SETTINGS = PlacesSettings(
    kind="places",
    labels={"kind": "cliques"},
    images_a_place=VIEWS,
    schedule={"kind": "steps"},
    loss={"epsilon": 2.0},
    precision="float32",
)


def batch_gradients(network: SplitNetwork, learnt: list, shots: Shots) -> BatchGradients:
    loss = PlaceLoss(shots, SETTINGS)
    return BatchGradients(network, learnt, SETTINGS.seed, ALONE, shots.source_of, loss)


def computed(
    data: TrainingData,
    size: int,
    first_layer: str,
    flip: bool = False,
    dropout: float = 0.0,
    number: int = 1,
) -> tuple[Loss, PlaceModel]:
    """The gradients by passes of so many images, of the batch of that number."""
    model = a_model()
    if dropout:
        model.pool = nn.Sequential(model.pool, nn.Dropout(dropout))
    network = SplitNetwork(model, first_layer, "float32", "float32")
    shots = shots_of(data.train.database.index, data.train.queries.index, 25.0)
    learnt = list(model.parameters())
    gradients = batch_gradients(network, learnt, shots)
    images = [(row, Change(is_mirrored=flip and row % 2 == 1)) for row in ROWS.tolist()]
    parts = [images[start : start + size] for start in range(0, len(images), size)]
    batch = Batch(ROWS, parts)
    sources = {n: CachedSource(s, network, NO_CACHE) for n, s in data.sources().items()}
    wanted = [gradients.images_of(part) for part in gradients.own_parts(batch)]
    loaded = [[sources[name].load(row, change) for name, row, change in part] for part in wanted]
    return gradients.compute(batch, iter(loaded), 1, number), model


@pytest.mark.parametrize("first_layer", ["conv1", "conv5"])
@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_passes_equal_the_whole_batch(
    data: TrainingData, slim: str, size: int, first_layer: str
) -> None:
    whole, model = computed(data, 9, first_layer, flip=True)
    cut, other = computed(data, size, first_layer, flip=True)
    assert cut.total == pytest.approx(whole.total, abs=1e-5)
    assert cut.terms == whole.terms == 9
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        assert (one.grad is None) == (two.grad is None)
        if one.grad is not None:
            torch.testing.assert_close(two.grad, one.grad, atol=1e-5, rtol=1e-5)
    assert model.pool.centroids.grad.abs().max() > 1e-3


def test_the_whole_batch_equals_the_plain_way(data: TrainingData, slim: str) -> None:
    loss, model = computed(data, 9, "conv1", flip=True)
    twin = a_model()
    pixels = [changed(data.train.database.pixels(r), Change(r % 2 == 1)) for r in ROWS.tolist()]
    labels = torch.arange(9) // VIEWS
    same = labels[:, None] == labels
    masks = (same & ~torch.eye(9, dtype=torch.bool), ~same)
    expected, _ = similarity_loss(twin(torch.from_numpy(np.stack(pixels))), *masks, SETTINGS.loss)
    expected.backward()
    assert loss.total == pytest.approx(9 * expected.item(), abs=1e-4)
    torch.testing.assert_close(
        model.pool.centroids.grad, twin.pool.centroids.grad, atol=1e-5, rtol=1e-4
    )


def test_dropout_is_the_same_in_both_passes_of_an_image(data: TrainingData, slim: str) -> None:
    given, model = computed(data, 4, "conv1", dropout=0.5, number=2)
    twin = a_model()
    twin.pool = nn.Sequential(twin.pool, nn.Dropout(0.5))
    described = []
    for part, start in enumerate(range(0, 9, 4)):
        pixels = [data.train.database.pixels(r) for r in ROWS[start : start + 4].tolist()]
        draw = generator(Draw.DROPOUT, SETTINGS.seed, 1, 2 * MOST_PARTS + part)
        with dropping_out(twin.pool, draw):
            described.append(twin(torch.from_numpy(np.stack(pixels))))
    labels = torch.arange(9) // VIEWS
    same = labels[:, None] == labels
    masks = (same & ~torch.eye(9, dtype=torch.bool), ~same)
    expected, _ = similarity_loss(torch.cat(described), *masks, SETTINGS.loss)
    expected.backward()
    assert given.total == pytest.approx(9 * expected.item(), abs=1e-4)
    for one, two in zip(model.parameters(), twin.parameters(), strict=True):
        if two.grad is not None:
            torch.testing.assert_close(one.grad, two.grad, atol=1e-5, rtol=1e-4)
    other, _ = computed(data, 4, "conv1", dropout=0.5, number=3)
    assert other.total != given.total


def test_a_pair_within_the_radius_of_two_places_is_no_negative(
    data: TrainingData, slim: str
) -> None:
    """All nine images lie within 1,000 m, so that nothing pushes."""
    model = a_model()
    network = SplitNetwork(model, "conv5", "float32", "float32")
    shots = replace(shots_of(data.train.database.index, None, 25.0), apart_m=1000.0)
    gradients = batch_gradients(network, list(model.parameters()), shots)
    batch = Batch(ROWS, [[(row, Change()) for row in ROWS.tolist()]])
    images = [
        CachedSource(data.train.database, network, NO_CACHE).load(row) for row in ROWS.tolist()
    ]
    found = gradients.compute(batch, iter([images]), 1, 1)
    assert found == (0.0, 0)
