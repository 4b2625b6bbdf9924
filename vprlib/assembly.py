"""Puts backbone and pool together into the network that training starts from."""

import numpy as np
import torch
from torch import nn

from vprlib.backbones import fingerprint
from vprlib.model import Architecture, PlaceModel
from vprlib.netvlad import initialise
from vprlib.params import UserError
from vprlib.pools import PoolSettings
from vprlib.sampling import Sample
from vprlib.weights import BackboneSettings


def assemble(
    kind: BackboneSettings,
    backbone: nn.Sequential,
    pool: PoolSettings,
    centroids: np.ndarray,
    sample: Sample,
) -> tuple[PlaceModel, float]:
    """The network before training, and α; `sample` holds BatchNorm's statistics where it must."""
    if fingerprint(backbone) != sample.backbone:
        raise UserError(
            f"the weights '{kind.weights}' of {kind.name} changed since the features were"
            " sampled: run `dvc repro -f -s sample_features` and then `dvc repro`."
        )
    model = PlaceModel(Architecture(kind.name, kind.cut, pool, len(centroids)))
    fitted = {name: torch.from_numpy(values) for name, values in sample.statistics.items()}
    model.backbone.load_state_dict({**backbone.state_dict(), **fitted})
    descriptors = torch.from_numpy(sample.descriptors)
    return model, initialise(model.pool, torch.from_numpy(centroids), descriptors)
