"""The teacher's descriptors of the training images: computed once, and then in the cache."""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from vprlib.images.batches import ImageSource, plan_batches, stream
from vprlib.model.describe import describe_batches
from vprlib.model.precision import placed
from vprlib.model.settings import Precision
from vprlib.pipeline.arrays import forget, scratch_array
from vprlib.pipeline.cache import Cache, digest, sources
from vprlib.pipeline.group import Group
from vprlib.pipeline.progress import progress
from vprlib.pipeline.runtime import RuntimeSettings
from vprlib.train.cache import CacheFile, CacheSpec
from vprlib.train.distil.teacher import Teacher


@dataclass(frozen=True)
class TeacherDescriptors:
    """What describes the images of each source, by the names of TrainingData.sources."""

    sources: Mapping[str, ImageSource]
    device: torch.device
    precision: Precision
    folder: Path
    runtime: RuntimeSettings
    cache: Cache
    group: Group

    def of(self, teacher: Teacher, name: str, rows: np.ndarray) -> np.ndarray:
        """Descriptors by row [N, D], of which `rows` are filled; on disk, as in the cache.

        All processes call it together: each finds or describes a share, and each reads them all.
        """
        source = self.sources[name]
        path, shape = self.folder / f"teacher-{name}.f32", (len(source.index), teacher.network.dim)
        if self.group.is_first:
            scratch_array(path, shape)
        self.group.wait()
        target = np.memmap(path, np.float32, "r+", shape=shape)
        file = CacheFile.opened(self.cache, self._spec(teacher, source))
        own = rows[self.group.share]
        missing = [row for row in own.tolist() if not _copied(file, target, row)]
        self._describe(teacher, source, np.array(missing, np.int64), target, file)
        target.flush()
        forget(target)
        if file is not None:
            file.close()
        self.group.wait()
        return np.memmap(path, np.float32, "r+", shape=shape)  # includes other machines' rows

    def _describe(
        self,
        teacher: Teacher,
        source: ImageSource,
        rows: np.ndarray,
        target: np.ndarray,
        file: CacheFile | None,
    ) -> None:
        batches = plan_batches(source.sizes(), rows)
        network, label = placed(teacher.network, self.device), f"{teacher.name} describes"
        with closing(stream(source, batches, self.runtime)) as loaded:
            described = describe_batches(network, loaded, self.device, self.precision)
            for found in progress(described, len(batches), label, "batch"):
                for row, values in zip(found.rows.tolist(), found.values.numpy(), strict=True):
                    target[row] = values
                    if file is not None:
                        file.put(row, values[None, None])

    def _spec(self, teacher: Teacher, source: ImageSource) -> CacheSpec:
        index, sizes = source.index, source.sizes()
        key = digest(
            "teacher",
            *(index.digests, index.byte_sizes, sizes, source.settings.model_dump()),
            index.extra.get("box", np.zeros(0)),
            *sources("images", "model"),
            Path(__file__),
            [teacher.digest, teacher.network.versions, self.precision, self.device.type],
            [torch.__version__, version("torchvision"), torch.backends.cpu.get_cpu_capability()],
        )
        shapes = np.tile([1, 1, teacher.network.dim], (len(sizes), 1))
        what = f"descriptors of {len(sizes)} images of {index.set_name} by {teacher.name}"
        return CacheSpec(what, key, shapes, np.dtype("f4"))


def _copied(file: CacheFile | None, target: np.ndarray, row: int) -> bool:
    """Whether a descriptor was in the cache."""
    found = None if file is None else file.get(row)
    if found is not None:
        target[row] = found.reshape(-1)
    return found is not None
