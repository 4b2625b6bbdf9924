"""What tests of training share: quick settings, a small model, and what interrupts a run."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch

from vprlib.model.model import Architecture, PlaceModel
from vprlib.model.netvlad import initialise
from vprlib.model.settings import PoolSettings
from vprlib.model.weights import BackboneSettings, starting_backbone
from vprlib.places.truth import Radii
from vprlib.train.gradients import StepGradients
from vprlib.train.settings import TrainSettings
from vprlib.train.trainer import Trainer
from vprlib.train.triplets import TripletSteps

CUTS = {"alexnet": "conv5", "resnet18": "layer4"}
RADII = Radii(positive_m=25.0, training_m=10.0)
PLACES, VIEWS, ASKED = 4, 3, 2


class StopError(Exception):
    """What interrupts a run in these tests."""


def settings(**changes: object) -> TrainSettings:
    quick = {
        "epochs": 2,
        "precision": "float32",
        "first_layer": "conv4",
        "learning_rate": 0.01,
        "queries_a_step": 2,
        "negatives": 3,
        "negative_pool": 4,
        "refresh_queries": 3,
        "margin": 0.2,
    }
    return TrainSettings(**quick | changes)


def a_model(name: str = "alexnet", clusters: int = 4) -> PlaceModel:
    model = PlaceModel(Architecture(name, CUTS[name], PoolSettings(), clusters))
    kind = BackboneSettings(name=name, cut=CUTS[name], weights="random")
    model.backbone.load_state_dict(starting_backbone(kind, Path()).state_dict())
    generator = torch.Generator().manual_seed(2)
    dim = model.dim // clusters
    vectors = torch.randn(clusters + 20, dim, generator=generator)
    vectors = torch.nn.functional.normalize(vectors, dim=1)
    initialise(model.pool, vectors[:clusters], vectors[clusters:])
    return model


def weights(model: PlaceModel) -> dict[str, bytes]:
    return {name: t.detach().numpy().tobytes() for name, t in model.state_dict().items()}


def stop_at(monkeypatch: pytest.MonkeyPatch, method: str, call: int) -> None:
    """Makes the call of that number to a method of one of these classes raise."""
    owner = next(o for o in (Trainer, TripletSteps, StepGradients) if hasattr(o, method))
    whole, calls = getattr(owner, method), iter(range(1, 1000))

    def broken(self: object, *args: object) -> object:
        if next(calls) == call:
            raise StopError
        return whole(self, *args)

    monkeypatch.setattr(owner, method, broken)


def whole_and_broken_off(
    monkeypatch: pytest.MonkeyPatch,
    stop: tuple[str, int],
    make: Callable[..., Trainer],
    changes: Mapping[str, object],
) -> tuple[Trainer, Trainer]:
    """Two trainers that have run: one without a break, and one that such a call broke off.

    Their logs and networks are the same to the last bit.
    """
    whole = make("whole", **changes)
    expected = whole.run()
    resumed = broken_off(monkeypatch, *stop, lambda: make("broken", **changes))
    outcome = resumed.run()
    assert outcome.log == expected.log
    assert weights(outcome.model) == weights(expected.model)
    return whole, resumed


def broken_off(
    monkeypatch: pytest.MonkeyPatch, method: str, call: int, make: Callable[[], Trainer]
) -> Trainer:
    """A trainer that goes on from where such a call broke off the one before it."""
    with monkeypatch.context() as patch:
        stop_at(patch, method, call)
        with pytest.raises(StopError):
            make().run()
    return make()
