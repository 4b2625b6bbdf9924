"""Loads the images of training and validation ahead of the network, and describes them."""

import math
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from vprlib.images.batches import IMAGES_A_BATCH, groups_ahead, load_ahead, plan_batches
from vprlib.pipeline.arrays import forget, scratch_array
from vprlib.pipeline.group import Group
from vprlib.pipeline.progress import progress
from vprlib.pipeline.runtime import RuntimeSettings
from vprlib.train.frozen import CachedSource, LoadedImage, SplitNetwork
from vprlib.train.gradients import Wanted
from vprlib.train.settings import AnySettings


@dataclass(frozen=True)
class Inputs:
    """The images of the four sources, as the network takes them."""

    sources: Mapping[str, CachedSource]  # by the names of TrainingData.sources
    network: SplitNetwork
    folder: Path
    runtime: RuntimeSettings
    group: Group

    def load(
        self, parts: Iterable[Sequence[Wanted]], settings: AnySettings
    ) -> Generator[list[LoadedImage], None, None]:
        """The images of each part in turn, decoded ahead."""
        factor = max(1.0, settings.jitter[1] if settings.jitter else 1.0) ** 2
        largest = max(self.sources[name].largest() for name in ("database", "queries"))
        ahead = groups_ahead(math.ceil(settings.images_a_part * largest * factor), self.runtime)
        return load_ahead(map(self.loaders, parts), self.runtime.workers, ahead)

    def loaders(self, part: Sequence[Wanted]) -> list[partial[LoadedImage]]:
        return [partial(self.sources[name].load, row, change) for name, row, change in part]

    @torch.no_grad()
    def describe(self, name: str, rows: np.ndarray | None, label: str) -> np.ndarray:
        """Descriptors by row, of `rows` or of all; on disk, since a set need not fit into memory.

        All processes call it together: each describes a share, and each reads them all.
        """
        cached, network = self.sources[name], self.network
        path, shape = self.folder / f"{name}.f32", (len(cached.sizes), network.model.dim)
        if self.group.is_first:
            scratch_array(path, shape)
        self.group.wait()
        target = np.memmap(path, np.float32, "r+", shape=shape)
        rows = np.arange(len(cached.sizes)) if rows is None else rows
        batches = plan_batches(cached.sizes, rows)[self.group.share]
        wanted = ([partial(cached.load, int(row)) for row in batch] for batch in batches)
        ahead = groups_ahead(cached.largest() * IMAGES_A_BATCH, self.runtime)
        with closing(load_ahead(wanted, self.runtime.workers, ahead)) as loaded:
            for batch in progress(batches, len(batches), label, "batch"):
                target[batch] = network.describe(next(loaded)).cpu().numpy()
        forget(target)
        if self.group.size == 1:
            return target
        target.flush()
        self.group.wait()
        return np.memmap(path, np.float32, "r+", shape=shape)  # includes other machines' rows
