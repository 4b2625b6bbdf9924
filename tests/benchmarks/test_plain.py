"""The plain training that ours is measured against does the same, step by step."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from training import a_model, settings

from benchmarks.pictures import Size, drawn_data
from benchmarks.plain import LoopNetVLAD, PlainTrainer
from benchmarks.training import TimedTrainer
from vprlib.model.netvlad import NetVLAD, initialise
from vprlib.pipeline.resume import Scratch
from vprlib.pipeline.runtime import RuntimeSettings
from vprlib.train.mining import Tuple

Sides = Callable[..., tuple[TimedTrainer, PlainTrainer]]


@pytest.fixture
def sides(slim: str, runtime: RuntimeSettings, cpu: torch.device, tmp_path: Path) -> Sides:
    """Both over ten places: three database images and two queries of each."""

    def make(**changes: object) -> tuple[TimedTrainer, PlainTrainer]:
        quick = {"learning_rate": 0.003, "queries_a_step": 3, "negatives": 4, "negative_pool": 9}
        given = settings(**quick | {"refresh_queries": 8} | changes)
        data = drawn_data(tmp_path / "data", Size(64, 48, 30, 20), given)
        plain = PlainTrainer(a_model(), data, given)
        scratch = Scratch(tmp_path / "scratch")
        return TimedTrainer(a_model(), data, given, cpu, runtime, scratch), plain

    return make


def rows(tuples: list[Tuple]) -> list[tuple[int, ...]]:
    return [(t.query, t.positive, *t.negatives.tolist()) for t in tuples]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"skip_hardest": 2},
        {"margin": 1e-4},
        {"first_layer": "conv1", "learning_rate": 0.001},
        {"first_layer": "pool"},
    ],
)
def test_both_learn_from_the_same_tuples_with_the_same_loss(
    sides: Sides, changes: dict[str, object]
) -> None:
    ours, plain = sides(**changes)
    seen: list[Tuple] = []
    learn = plain._learn
    plain._learn = lambda step, images: (seen.extend(step), learn(step, images))[1]
    ours.start()
    for epoch in (1, 2, 3):
        ours.taken.clear()
        ours.losses.clear()
        seen.clear()
        ours._run_epoch()
        losses = plain.epoch(epoch)
        assert rows(seen) == rows([t for step in ours.taken for part in step for t in part])
        assert len(losses) > 1
        np.testing.assert_allclose(losses, ours.losses, atol=1e-5, rtol=0)
    np.testing.assert_array_equal(plain.hardest, ours.state.memory.numpy())
    centroids = [side.pool.centroids for side in (plain.network, ours.model)]
    torch.testing.assert_close(*centroids, atol=1e-5, rtol=0)
    assert set(plain.clock.seconds) == {"encode", "mine", "data", "forward", "backward"}
    assert set(ours.clock.seconds) == set(plain.clock.seconds)


def test_a_margin_that_few_negatives_violate_leaves_queries_out(sides: Sides) -> None:
    _, plain = sides(margin=1e-4)
    counts = []
    learn = plain._learn
    plain._learn = lambda step, images: (counts.append(len(images)), learn(step, images))[1]
    plain.epoch(1)
    assert sum(counts) < 20 * (2 + 4)


def test_the_plain_layers_are_those_of_torch_and_channels_first(sides: Sides) -> None:
    _, plain = sides()
    layers = list(plain.network.backbone.children())
    assert all(type(layer).__module__.startswith("torch.nn") for layer in layers)
    assert all(p.is_contiguous() for p in plain.network.parameters())
    is_learning = [layer.weight.requires_grad for layer in layers if hasattr(layer, "weight")]
    assert is_learning == [False, False, False, True, True]


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_the_loop_over_clusters_equals_the_factored_layer(version: str) -> None:
    layer = NetVLAD(5, 8, version)
    generator = torch.Generator().manual_seed(3)
    centroids, sample = (torch.randn(n, 8, generator=generator) for n in (5, 40))
    initialise(layer, centroids, sample)
    features = torch.randn(3, 8, 4, 6, generator=generator)
    torch.testing.assert_close(LoopNetVLAD(layer)(features), layer(features), atol=1e-5, rtol=0)
