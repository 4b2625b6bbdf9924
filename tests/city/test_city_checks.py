"""The default city asks for places and not for tricks, and training on it gains what it should."""

import json
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
import torchvision
import yaml
from PIL import Image
from torch.nn.functional import normalize

from vprlib.images.index import read_index
from vprlib.model.backbones import Normaliser
from vprlib.model.netvlad import NetVLAD, initialise
from vprlib.model.weights import fill_at_random
from vprlib.places.truth import Near, recall_at
from vprlib.search.exact import search_parts
from vprlib.search.request import SearchRequest, collect
from vprlib.train.words import KmeansSettings, cluster

pytestmark = pytest.mark.slow

SHARED = Path(__file__).parents[3] / "shared/weights/squeezenet1_1_features_imagenet.pth"
SEEDS = {1: 10, 2: 6}  # epochs of each: the first is what this checkout has computed


@pytest.fixture(scope="module")
def city(tmp_path_factory):
    """The project with its default parameters, drawn and evaluated before any training."""
    project = tiny.Project(tmp_path_factory.mktemp("city") / "project")
    project.borrow_cache()
    project.write(yaml.safe_load((tiny.ROOT / "params.yaml").read_text()))
    project.dvc("repro", "recall@city_test-off_the_shelf-full")
    return project


def recall_1(project, variant):
    path = project.folder / f"metrics/recall/city_test/{variant}-full.json"
    return json.loads(path.read_text())["recall@1"]


def side(project, name):
    index = read_index(project.folder / f"data/index/city_test/{name}.h5")
    images = [Image.open(project.folder / "data/raw/city" / path) for path in index.names]
    return index.positions, images


def score(described, positions):
    """R@1 at 25 m of descriptors and positions of queries and database."""
    found = collect(search_parts, SearchRequest(*described, 1, 2**30, 2))
    return recall_at(Near(*positions, 25.0).is_right(found.rows), [1])[1]


def test_off_the_shelf_recall_is_neither_easy_nor_hopeless(city):
    assert 0.60 <= recall_1(city, "off_the_shelf") <= 0.85


def test_there_are_enough_queries_and_places(city):
    summary = json.loads((city.folder / "metrics/sets/city_test.json").read_text())
    assert summary["queries"] >= 300 and summary["query_locations_1m"] >= 100


def test_grey_thumbnails_score_below_the_untrained_network(city):
    positions, images = zip(*(side(city, name) for name in ("queries", "db")), strict=True)
    thumbnails = [
        np.stack([np.ravel(i.convert("L").resize((16, 12), Image.Resampling.BOX)) for i in part])
        for part in images
    ]
    raw = [part.astype(np.float32) for part in thumbnails]
    centred = [part - part.mean(axis=1, keepdims=True) for part in raw]
    unit = [part / np.linalg.norm(part, axis=1, keepdims=True) for part in centred]
    best = max(score(raw, positions), score(unit, positions))
    assert best < recall_1(city, "off_the_shelf") - 0.05


@pytest.mark.skipif(not SHARED.exists(), reason=f"needs SqueezeNet's ImageNet weights at {SHARED}")
@pytest.mark.parametrize("pool", ["gem", "netvlad"])
def test_imagenet_squeezenet_beats_random_squeezenet_by_ten_points(city, pool):
    positions, images = zip(*(side(city, name) for name in ("queries", "db")), strict=True)
    scores = {}
    for start in ("imagenet", "random"):
        features = torchvision.models.squeezenet1_1().features.eval()
        if start == "imagenet":
            features.load_state_dict(torch.load(SHARED, weights_only=True))
        else:
            fill_at_random(features, seed=1)
        maps = [feature_maps(features, part) for part in images]
        pooled = gem(maps) if pool == "gem" else netvlad(maps)
        scores[start] = score(pooled, positions)
    assert scores["imagenet"] >= scores["random"] + 0.10, scores


@torch.no_grad()
def feature_maps(features, images):
    normaliser = Normaliser()
    pixels = torch.from_numpy(np.stack([np.asarray(i.convert("RGB")) for i in images]))
    return torch.cat([features(normaliser(part)) for part in pixels.split(64)])


def gem(maps):
    pooled = [m.clamp(min=1e-6).pow(3).mean(dim=(2, 3)).pow(1 / 3) for m in maps]
    return [normalize(p, dim=1).numpy() for p in pooled]


@torch.no_grad()
def netvlad(maps):
    """Words of the database's own features, which is enough to compare two networks."""
    local = normalize(maps[1].flatten(2), dim=1).transpose(1, 2).flatten(0, 1)[::7]
    centroids = cluster(local.numpy(), KmeansSettings(clusters=16, iterations=20), threads=2)
    layer = NetVLAD(16, local.shape[1], "v1")
    initialise(layer, torch.from_numpy(centroids.centroids), local)
    return [torch.cat([layer(part) for part in m.split(64)]).numpy() for m in maps]


def test_training_gains_fifteen_points_with_each_seed(city):
    gains = {}
    for seed, epochs in SEEDS.items():
        tree = yaml.safe_load((tiny.ROOT / "params.yaml").read_text())
        tree["train"].update(seed=seed, epochs=epochs)
        tree["runtime"]["threads"] = 1  # the other tests have the other core
        city.write(tree)
        city.dvc("repro", "recall@city_test-trained-full")
        gains[seed] = recall_1(city, "trained") - recall_1(city, "off_the_shelf")
    print({seed: round(gain, 3) for seed, gain in gains.items()})
    assert min(gains.values()) >= 0.15, gains
