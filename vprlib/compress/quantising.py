"""From a network in float to one in int8: by what images show, and by learning under rounding."""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from vprlib.compress.calibration import Images, calibrate
from vprlib.compress.fake_quant import FakeQuantBackbone
from vprlib.compress.tracing import trace
from vprlib.model.backbones import channels
from vprlib.model.int8 import Pixels, with_weights
from vprlib.model.model import Architecture, PlaceModel
from vprlib.model.operations import Operations
from vprlib.pipeline.params import UserError


def rehearse(model: PlaceModel, images: Images) -> FakeQuantBackbone:
    """The backbone as operations that round from now on; `images` gives batches of pixels."""
    a, device = model.architecture, model.device
    if a.size is not None:
        raise UserError(
            "a network that resizes its images cannot become int8, which starts from the pixels of"
            " the images: round it to float16 instead."
        )
    fake_quant = FakeQuantBackbone(trace(model.backbone, a.backbone)).to(device)

    def normalised() -> Iterator[Tensor]:
        return (model.normalise(batch.to(device)) for batch in images())

    with torch.no_grad():
        grids = calibrate(fake_quant, normalised)
        fake_quant.start_rounding(grids, Pixels(a.mean, a.std))
    return fake_quant


def learner(model: PlaceModel, fake_quant: FakeQuantBackbone) -> PlaceModel:
    """The network with this backbone, under the name of the first layer, so that all learns."""
    first, _ = next(model.backbone.named_children())
    return _around(nn.Sequential(OrderedDict({first: fake_quant})), model, model.architecture)


def quantised(model: PlaceModel, fake_quant: FakeQuantBackbone) -> PlaceModel:
    """The network whose backbone does in integers what the fake-quantised one does in float."""
    a = model.architecture
    operations = Operations(steps=fake_quant.steps, grids=fake_quant.grids)
    backbone = with_weights(operations, fake_quant.weights(), Pixels(a.mean, a.std))
    width = a.channels or channels(a.backbone, a.cut)
    architecture = replace(a, int8=operations, widths={}, channels=width)
    return _around(backbone, model, architecture)


def _around(backbone: nn.Module, model: PlaceModel, architecture: Architecture) -> PlaceModel:
    """The network with another backbone."""
    found = PlaceModel(architecture)
    found.backbone, found.pool, found.whitening = backbone, model.pool, model.whitening
    return found.eval()
