"""Where and how a stage runs; listed by no stage, since it must not change results."""

import os

from pydantic import Field

from vprlib.params import Section


class RuntimeSettings(Section):
    """The `runtime` section of params.yaml."""

    device: str = "auto"  # auto: the first GPU where there is one; else cpu, cuda, cuda:1 …
    workers: int = Field(2, ge=1)  # threads that decode images ahead of the network
    threads: int | None = Field(None, ge=1)  # for arithmetic; null: all cores
    memory_gib: float = Field(2.0, gt=0)  # for search blocks and images decoded ahead
    store_gib: float = Field(40.0, ge=0)  # of disk for what training keeps of images; 0: nothing
    store_dir: str | None = None  # where; null: artifacts/.store
    tensorboard: bool = False  # also write training's scalars below artifacts/tensorboard

    @property
    def memory_bytes(self) -> int:
        return int(self.memory_gib * 2**30)

    @property
    def cores(self) -> int:
        available = getattr(os, "sched_getaffinity", None)
        return self.threads or (len(available(0)) if available else os.cpu_count() or 1)
