"""From a network in float to one in int8: by what images show, and by learning under rounding."""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from vprlib.compress.calibration import Images, calibrate
from vprlib.compress.rehearsal import Rehearsal
from vprlib.compress.tracing import trace
from vprlib.model.backbones import channels
from vprlib.model.int8 import Pixels, with_weights
from vprlib.model.model import Architecture, PlaceModel
from vprlib.model.operations import Operations


def rehearse(model: PlaceModel, images: Images) -> Rehearsal:
    """The backbone as operations that round from now on; `images` gives batches of pixels."""
    a = model.architecture
    device = model.normalise.mean.device
    rehearsal = Rehearsal(trace(model.backbone, a.backbone)).to(device)

    def normalised() -> Iterator[Tensor]:
        return (model.normalise(batch.to(device)) for batch in images())

    with torch.no_grad():
        grids = calibrate(rehearsal, normalised)
        rehearsal.start_rounding(grids, Pixels(a.mean, a.std))
    return rehearsal


def learner(model: PlaceModel, rehearsal: Rehearsal) -> PlaceModel:
    """The network around the rehearsal, which bears the name of the first layer: all learns."""
    first, _ = next(model.backbone.named_children())
    return _around(nn.Sequential(OrderedDict({first: rehearsal})), model, model.architecture)


def quantised(model: PlaceModel, rehearsal: Rehearsal) -> PlaceModel:
    """The network whose backbone does in integers what the rehearsal does in float."""
    a = model.architecture
    operations = Operations(steps=rehearsal.steps, grids=rehearsal.grids)
    backbone = with_weights(operations, rehearsal.weights(), Pixels(a.mean, a.std))
    width = a.channels or channels(a.backbone, a.cut)
    architecture = replace(a, int8=operations, widths={}, channels=width)
    return _around(backbone, model, architecture)


def _around(backbone: nn.Module, model: PlaceModel, architecture: Architecture) -> PlaceModel:
    """The network with another backbone."""
    found = PlaceModel(architecture)
    found.backbone, found.pool, found.whitening = backbone, model.pool, model.whitening
    return found.eval()
