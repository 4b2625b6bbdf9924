"""Each pooling, mining kind, loss, optimiser and v2 learns a tiny city from random weights.

Every value stands once beside one base; their full product would say no more.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vprlib.images.batches import ImageSource
from vprlib.images.decode import ImageSettings
from vprlib.images.index import build_index
from vprlib.model.model import Architecture, PlaceModel
from vprlib.model.netvlad import initialise
from vprlib.model.pools import PoolSettings
from vprlib.model.weights import BackboneSettings, starting_backbone
from vprlib.pipeline.resume import Scratch
from vprlib.pipeline.runtime import RuntimeSettings
from vprlib.places.truth import Near, Radii
from vprlib.train.data import Split, training_data
from vprlib.train.sample import SampleSettings, take_sample
from vprlib.train.settings import TrainSettings
from vprlib.train.trainer import Trainer
from vprlib.train.words import KmeansSettings, cluster

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
RUNTIME = RuntimeSettings(device="cpu", workers=2, threads=1, memory_gib=0.5)
KIND = BackboneSettings(name="alexnet", cut="conv5", weights="random")
WORDS = 8
HOUSES = {"train": 30, "val": 40}
BASE = {
    "epochs": 6,
    "precision": "float32",
    "first_layer": "conv1",
    "learning_rate": 0.01,
    "queries_a_step": 4,
    "negatives": 5,
    "negative_pool": 30,
    "refresh_queries": 0,
}
BLIND = {"mining": "random", "positive": "random"}
BERLIN = BLIND | {"train_queries": "database", "queries_a_step": 1, "accumulate": 4}


def photograph(part: int, house: int, shot: int, cast: float) -> np.ndarray:
    """A house of coloured stones, from a spot of its own, in light of a colour of its own."""
    stones = np.random.default_rng([part, house]).integers(40, 216, (5, 7, 3), dtype=np.uint8)
    whole = np.asarray(Image.fromarray(stones).resize((100, 60), Image.Resampling.NEAREST))
    draw = np.random.default_rng([part, house, shot + 1])
    left, top = 20 + draw.integers(-8, 9), 6 + draw.integers(-3, 4)
    seen = whole[top : top + 48, left : left + 64] * draw.uniform(1 - cast, 1 + cast, 3)
    return (seen + draw.normal(0, 20, seen.shape)).clip(0, 255).astype(np.uint8)


def draw_part(name: str, folder: Path) -> Split:
    """Two database images of each house by even light, two queries by any light; 30 m apart."""
    part, sides = list(HOUSES).index(name) + 1, []
    for side, first_shot, offset_m, cast in (("db", 0, 0.0, 0.1), ("q", 10, 1.0, 0.6)):
        shots = [(house, shot) for house in range(HOUSES[name]) for shot in (0, 1)]
        (folder / name / side).mkdir(parents=True)
        names = [f"{house:03}_{shot}.png" for house, shot in shots]
        for file_name, (house, shot) in zip(names, shots, strict=True):
            picture = Image.fromarray(photograph(part, house, first_shot + shot, cast))
            picture.save(folder / name / side / file_name)
        positions = np.array([(30.0 * house + 2.0 * shot + offset_m, 0.0) for house, shot in shots])
        index = build_index(f"{name}-{side}", names, positions, folder / name / side, {}, 1)
        sides.append(ImageSource(index, folder / name / side, ImageSettings()))
    return Split(*sides)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Split]:
    folder = tmp_path_factory.mktemp("city")
    return {name: draw_part(name, folder) for name in HOUSES}


def start(database: ImageSource, pool: PoolSettings) -> PlaceModel:
    """Random convolutions; NetVLAD's words from the training database."""
    backbone = starting_backbone(KIND, Path())
    words = WORDS if pool.kind == "netvlad" else 0
    model = PlaceModel(Architecture(KIND.name, KIND.cut, pool, words))
    model.backbone.load_state_dict(backbone.state_dict())
    if words:
        some = SampleSettings(images=40, positions=10)
        sample = take_sample(backbone, KIND, database, some, CPU, RUNTIME).descriptors
        centroids = cluster(sample, KmeansSettings(clusters=words), 1).centroids
        initialise(model.pool, torch.from_numpy(centroids), torch.from_numpy(sample))
    return model


@pytest.mark.parametrize(
    ("pool", "changes"),
    [
        pytest.param({}, {}, id="netvlad-v1-full-sgd-l2"),
        pytest.param({"version": "v2"}, {}, id="v2"),
        pytest.param({"kind": "average"}, {"learning_rate": 0.03}, id="average"),
        pytest.param({"kind": "max"}, {"learning_rate": 0.03}, id="max"),
        pytest.param({"kind": "gem"}, {"learning_rate": 0.03}, id="gem"),
        pytest.param({}, {"mining": "partial"}, id="partial"),
        pytest.param({}, BLIND, id="random"),
        pytest.param({}, {"distance": "squared"}, id="squared"),
        pytest.param(
            {}, {"optimizer": "adam", "learning_rate": 0.003, "negative_pool": 10}, id="adam"
        ),
        pytest.param(
            {},
            {"accumulate": 2, "queries_a_step": 2, "flip": 0.5, "learning_rate": 0.02},
            id="flip",
        ),
        pytest.param({}, {"jitter": (0.9, 1.1), "skip_hardest": 1}, id="jitter"),
        pytest.param({}, BERLIN, id="berlin"),
    ],
)
def test_training_ends_better_than_it_began(
    parts: dict[str, Split], slim: str, tmp_path: Path, pool: dict, changes: dict
) -> None:
    settings = TrainSettings(**BASE | changes)
    val = parts["val"]
    truth = Near(val.queries.index.positions, val.database.index.positions, 10.0)
    data = training_data(parts["train"], Radii(25.0, 10.0), val, truth, settings)
    model = start(parts["train"].database, PoolSettings(**pool))
    outcome = Trainer(model, data, settings, CPU, RUNTIME, Scratch(tmp_path)).run()
    first, best = outcome.log[0], outcome.best
    assert best.epoch > 0
    assert best.score > first.score
    # of 80 queries at least 8 more than at the start
    assert best.recalls["recall@5"] >= first.recalls["recall@5"] + 0.1, outcome.log
    assert best.recalls["recall@1"] > first.recalls["recall@1"]
