"""Where and how a stage runs; listed by no stage, since it must not change results."""

import os
from dataclasses import dataclass
from typing import Self

from pydantic import Field, model_validator

from vprlib.pipeline.params import Section

# in the environment of each process that vprlib.launch started: the number of the one that did
LAUNCHER = "VPRLIB_LAUNCHER"


@dataclass(frozen=True)
class Member:
    """Which of the processes that share one piece of work this one is."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0  # among those on this machine
    local_size: int = 1


def member() -> Member:
    """As the launcher has numbered this process; one that a user started is the only one."""
    if LAUNCHER not in os.environ:
        return Member()
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    return Member(*(int(os.environ[name]) for name in names))


class RuntimeSettings(Section):
    """The `runtime` section of params.yaml."""

    device: str = "auto"  # auto: the first GPU where there is one; else cpu, cuda, cuda:1 …
    workers: int = Field(2, ge=1)  # threads that decode images ahead of the network
    threads: int | None = Field(None, ge=1)  # for arithmetic; null: all cores
    memory_gib: float = Field(2.0, gt=0)  # for blocks of search and mining, and images ahead
    store_gib: float = Field(40.0, ge=0)  # of disk for what training keeps of images; 0: nothing
    store_dir: str | None = None  # where; null: artifacts/.store
    tensorboard: bool = False  # also write training's scalars below artifacts/tensorboard
    processes: int = Field(1, ge=1)  # that train or describe on this machine; on GPUs one each
    nodes: int = Field(1, ge=1)  # machines that work together
    # host:port of one of them, needed for several machines
    rendezvous: str | None = Field(None, pattern=r"^\S+:\d+$")

    @model_validator(mode="after")
    def _machines_need_a_rendezvous(self) -> Self:
        if self.nodes > 1 and self.rendezvous is None:
            raise ValueError(
                f"nodes is {self.nodes}, but runtime.rendezvous is null: set it to host:port of"
                " one of the machines"
            )
        return self

    @property
    def memory_bytes(self) -> int:
        return int(self.memory_gib * 2**30)

    @property
    def cores(self) -> int:
        """Where `threads` does not say: all, in equal parts for the processes of this machine."""
        available = getattr(os, "sched_getaffinity", None)
        cores = len(available(0)) if available else os.cpu_count() or 1
        return self.threads or max(1, cores // member().local_size)
