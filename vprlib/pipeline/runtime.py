"""Where and how a stage runs; no stage depends on it, since it does not change results."""

import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator

from vprlib.pipeline.params import Section, UserError

# of any place on this machine
Folder = Annotated[str, Field(min_length=1, max_length=1000, pattern=r"^[^\x00-\x1f\x7f]*$")]


@dataclass(frozen=True)
class Member:
    """The number of this process among those that share a stage."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0  # among those on this machine
    local_size: int = 1


def processor_name() -> str:
    told = Path("/proc/cpuinfo")
    lines = told.read_text().splitlines() if told.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def is_member() -> bool:
    """Whether a launcher (our own, torchrun or another) started this process as one of several."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def member() -> Member:
    """This process's number from the launcher; without a launcher it is the only process."""
    if not is_member():
        return Member()
    _number("MASTER_PORT", 0, 2**16 - 1)  # which PyTorch reads
    size, local_size = _number("WORLD_SIZE", 1), _number("LOCAL_WORLD_SIZE", 1)
    rank, local_rank = _number("RANK", 0, size - 1), _number("LOCAL_RANK", 0)
    return Member(rank, size, local_rank, local_size)


def _number(name: str, least: int, most: int = 2**20) -> int:
    """A number that the launcher gives; the least where it gives none."""
    text = os.environ.get(name, str(least))
    if not (text.isdecimal() and least <= int(text[:20]) <= most):
        raise UserError(
            f"{name} is '{text}' in the environment, but should be a whole number from {least} to"
            f" {most}: start the processes by torchrun, or by runtime.processes in params.yaml."
        )
    return int(text)


class RuntimeSettings(Section):
    """The `runtime` section of params.yaml."""

    device: str = "auto"  # auto: the first GPU where there is one; else cpu, cuda, cuda:1 …
    workers: int = Field(2, ge=1, le=1024)  # threads that decode images ahead of the network
    threads: int | None = Field(None, ge=1, le=1024)  # for arithmetic; null: all cores
    memory_gib: float = Field(2.0, ge=1e-6, le=2**20)  # for search, mining and images ahead
    cache_gib: float = Field(40.0, ge=0, le=2**20)  # disk for what later runs use again
    cache_dir: Folder | None = None  # where; null: artifacts/.cache
    tensorboard: bool = False  # also write training's scalars below artifacts/tensorboard
    processes: int = Field(1, ge=1, le=256)  # that train or describe; on GPUs one each

    @field_validator("device")
    @classmethod
    def _is_usable(cls, device: str) -> str:
        """PyTorch knows others, such as meta, which cannot do what is needed."""
        if not re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?", device):
            raise ValueError(f"'{device}' is no device: use auto, cpu, cuda, or cuda:1 and so on")
        return device

    @property
    def memory_bytes(self) -> int:
        return int(self.memory_gib * 2**30)

    @property
    def cores(self) -> int:
        """`threads`, or else an equal share of all cores for each process of this machine."""
        available = getattr(os, "sched_getaffinity", None)
        cores = len(available(0)) if available else os.cpu_count() or 1
        return self.threads or max(1, cores // member().local_size)
