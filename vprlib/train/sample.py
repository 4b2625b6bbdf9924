"""Samples local descriptors of random images at random positions, for the visual words."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from vprlib.images.batches import ImageSource, plan_batches, stream
from vprlib.model.backbones import (
    Normaliser,
    calibrate,
    channels,
    fingerprint,
    normalisation,
    statistics,
)
from vprlib.model.describe import describe
from vprlib.model.weights import BackboneSettings, is_uncalibrated
from vprlib.pipeline.artifacts import write_hdf5
from vprlib.pipeline.draws import some_rows
from vprlib.pipeline.params import Section, Seed, UserError
from vprlib.pipeline.runtime import RuntimeSettings
from vprlib.pipeline.stored import reading


class SampleSettings(Section):
    """How many local descriptors are sampled for the visual words."""

    images: int = Field(500, ge=1, le=10**7)  # of the training database, without replacement
    positions: int = Field(100, ge=1, le=10**7)  # an image, without replacement
    seed: Seed = 1


@dataclass(frozen=True)
class Wanted:
    """What the pool needs; BatchNorm is calibrated in any case."""

    descriptors: bool = True  # a pool without words needs none
    normalised: bool = True  # as the layer sees them


@dataclass(frozen=True)
class Sample:
    descriptors: np.ndarray  # [n, D] unit vectors where the layer normalises its input
    image_rows: np.ndarray  # [n] the database row that each comes from
    image_names: list[str]  # of all images used, by row
    set_name: str
    seed: int
    backbone: str  # digest of the weights that described them
    statistics: dict[str, np.ndarray]  # BatchNorm's, if they were calibrated here


def take_sample(
    backbone: nn.Sequential,
    kind: BackboneSettings,
    source: ImageSource,
    settings: SampleSettings,
    device: torch.device,
    runtime: RuntimeSettings,
    wanted: Wanted = Wanted(),
) -> Sample:
    """Local descriptors of random images, on which random weights are calibrated first."""
    fits = is_uncalibrated(kind, backbone)
    readable = np.setdiff1d(np.arange(len(source.index)), source.index.unread)
    rows = readable[choose_images(len(readable) if fits or wanted.descriptors else 0, settings)]
    network = nn.Sequential(Normaliser(*normalisation(kind.name)), backbone).to(device).eval()
    if fits:
        batches = stream(source, plan_batches(source.sizes(), rows), runtime)
        calibrate(network, (torch.from_numpy(b.pixels).to(device) for b in batches))
    described = rows if wanted.descriptors else rows[:0]
    drawn: dict[int, np.ndarray] = {}
    for found in describe(network, source, described, device, runtime, "sampling"):
        for row, features in zip(found.rows.tolist(), found.values, strict=True):
            features = F.normalize(features, dim=0) if wanted.normalised else features
            drawn[row] = _some_positions(features, row, settings)
            _check_memory(len(described) * drawn[row].nbytes, settings, runtime)
    parts = [drawn[row] for row in described.tolist()]
    none = np.zeros((0, channels(kind.name, kind.cut)), np.float32)
    fitted = statistics(backbone) if fits else {}
    return Sample(
        np.concatenate([none, *parts]),
        np.repeat(described, [len(part) for part in parts]),
        [source.index.names[row] for row in rows],
        source.index.set_name,
        settings.seed,
        fingerprint(backbone),
        {name: tensor.cpu().numpy() for name, tensor in fitted.items()},
    )


def choose_images(available: int, settings: SampleSettings) -> np.ndarray:
    """Ascending rows; all if there are fewer than wanted."""
    return some_rows(np.random.default_rng(settings.seed), available, settings.images)


def write_sample(path: Path, sample: Sample) -> None:
    write_hdf5(
        path,
        {
            "descriptors": sample.descriptors,
            "image_rows": sample.image_rows,
            "image_names": sample.image_names,
            **{f"statistics/{name}": values for name, values in sample.statistics.items()},
        },
        {"set": sample.set_name, "seed": sample.seed, "backbone": sample.backbone},
    )


def read_sample(path: Path) -> Sample:
    with reading(path) as file:
        statistics = file.names("statistics")
        return Sample(
            file.finite("descriptors", "N D"),
            file.array("image_rows", "i", "N"),
            file.array("image_names", "O", "I").tolist(),
            file.text("set"),
            int(file.number("seed")),
            file.text("backbone"),
            {name: file.finite(f"statistics/{name}", "*") for name in statistics},
        )


def _some_positions(features: Tensor, row: int, settings: SampleSettings) -> np.ndarray:
    """Local descriptors [positions, D] of a feature map [D, H, W]."""
    columns = features.flatten(1).T  # N D
    generator = np.random.default_rng([settings.seed, row])
    count = min(settings.positions, len(columns))
    return columns[generator.choice(len(columns), count, replace=False)].numpy()


def _check_memory(needed: int, settings: SampleSettings, runtime: RuntimeSettings) -> None:
    if needed > runtime.memory_bytes:
        raise UserError(
            f"params.yaml: sample.images {settings.images} × sample.positions"
            f" {settings.positions} needs {needed / 2**30:.1f} GiB, more than runtime.memory_gib"
            f" ({runtime.memory_gib:g}): lower them, or allow more."
        )
