"""The network that training starts from, assembled of backbone and pool."""

import numpy as np
import torch
from torch import nn

from vprlib.model.backbones import channels, fingerprint, normalisation
from vprlib.model.heads.supervlad import SuperVLAD
from vprlib.model.model import Architecture, PlaceModel
from vprlib.model.netvlad import alpha_v1, initialise
from vprlib.model.pools import build_pool
from vprlib.model.settings import Pool, PoolSettings, has_words
from vprlib.model.weights import BackboneSettings
from vprlib.pipeline.params import UserError
from vprlib.train.sample import Sample


def assemble(
    kind: BackboneSettings,
    backbone: nn.Sequential,
    pool: Pool,
    centroids: np.ndarray,
    sample: Sample,
) -> tuple[PlaceModel, float | None]:
    """The network before training, and α of pools with words (None for others).

    Weights of the pool that words do not set are random, by the seed of the backbone. `sample`
    holds BatchNorm's statistics if they were calibrated.
    """
    if fingerprint(backbone) != sample.backbone:
        raise UserError(
            f"the weights '{kind.weights}' of {kind.name} changed since the features were"
            " sampled: run `dvc repro -f -s sample_features` and then `dvc repro`."
        )
    clusters = len(centroids) if has_words(pool.kind) else 0
    mean, std = normalisation(kind.name)
    model = PlaceModel(Architecture(kind.name, kind.cut, pool, clusters, mean=mean, std=std))
    fitted = {name: torch.from_numpy(values) for name, values in sample.statistics.items()}
    model.backbone.load_state_dict({**backbone.state_dict(), **fitted})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(kind.seed)
        fresh = build_pool(pool, clusters, channels(kind.name, kind.cut))
    model.pool.load_state_dict(fresh.state_dict())
    if not clusters:
        return model, None
    words, descriptors = torch.from_numpy(centroids), torch.from_numpy(sample.descriptors)
    if not isinstance(model.pool, SuperVLAD):
        return model, initialise(model.netvlad, words, descriptors)
    alpha = alpha_v1(words, descriptors)
    model.pool.start(words, alpha)
    return model, alpha


def start_sentence(kind: BackboneSettings, model: PlaceModel, alpha: float | None) -> str:
    """A line about the network before training."""
    a = model.architecture
    pool = f"{a.pool.kind} pooling"
    if alpha is not None and isinstance(a.pool, PoolSettings):
        pool = f"NetVLAD {a.pool.version}, K {a.clusters}, alpha {alpha:.2f}"
    elif alpha is not None:
        pool = f"{a.pool.kind}, K {a.clusters}, alpha {alpha:.2f}"
    return f"model: {kind.name} ({kind.weights}) with {pool}, {model.dim} dimensions"
