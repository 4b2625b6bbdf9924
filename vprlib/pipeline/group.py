"""The processes that share one stage, and what they exchange."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from vprlib.pipeline.arrays import places_by
from vprlib.pipeline.params import UserError
from vprlib.pipeline.runtime import Member, member

PATIENCE = timedelta(hours=12)  # how long processes wait for each other
LOST_S = 10  # time for the launcher to find out which process died, and to say so
T = TypeVar("T")
Rows = TypeVar("Rows", np.ndarray, list)


@dataclass(frozen=True)
class Group(Member):
    """Collective operations: every process must call them in the same order."""

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    @property
    def share(self) -> slice:
        """This process's share of a sequence that all have."""
        return slice(self.rank, None, self.size)

    def wait(self) -> None:
        self.gather(None)

    def gather(self, own: T) -> list[T]:
        """The objects of all processes, by rank."""
        if self.size == 1:
            return [own]
        found = [own] * self.size
        with _reaching_others(self):
            dist.all_gather_object(found, own)
        return found

    def interleave(self, own: Rows) -> Rows:
        """Joins the results of all `share`s, in the order of the whole sequence."""
        parts = self.gather(own)
        total = sum(len(part) for part in parts)
        if isinstance(own, np.ndarray):
            whole = np.empty((total, *own.shape[1:]), own.dtype)
        else:
            whole = [None] * total
        for rank, part in enumerate(parts):
            whole[rank :: self.size] = part
        return whole

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Replaces each tensor by its sum over all processes, with the same bytes everywhere."""
        self._on_one_buffer(tensors, dist.all_reduce)

    @torch.no_grad()
    def gather_tensors(self, own: Sequence[Tensor]) -> list[list[Tensor]]:
        """The tensors of all processes, by rank; shapes are the same everywhere."""
        found = [list(own) for _ in range(self.size)]
        for places in _alike(own) if self.size > 1 else ():
            buffer = torch.cat([own[place].reshape(-1) for place in places])
            buffers = [torch.empty_like(buffer) for _ in found]
            with _reaching_others(self):
                dist.all_gather(buffers, buffer)
            sizes = [own[place].numel() for place in places]
            for tensors, everything in zip(found, buffers, strict=True):
                for place, part in zip(places, everything.split(sizes), strict=True):
                    tensors[place] = part.view(own[place].shape)
        return found

    def same(self, tensors: Sequence[Tensor]) -> None:
        """Replaces each tensor by that of the first process."""
        self._on_one_buffer(tensors, lambda buffer: dist.broadcast(buffer, src=0))

    @torch.no_grad()
    def _on_one_buffer(
        self, tensors: Sequence[Tensor], exchange: Callable[[Tensor], object]
    ) -> None:
        """One exchange for all tensors of a kind, since each exchange has a latency."""
        for places in _alike(tensors) if self.size > 1 else ():
            alike = [tensors[place] for place in places]
            buffer = torch.cat([t.reshape(-1) for t in alike])
            with _reaching_others(self):
                exchange(buffer)
            for tensor, part in zip(alike, buffer.split([t.numel() for t in alike]), strict=True):
                tensor.copy_(part.view_as(tensor))


ALONE = Group()


def _alike(tensors: Sequence[Tensor]) -> list[list[int]]:
    """Places of the tensors, grouped by type and device."""
    return places_by((tensor.dtype, tensor.device) for tensor in tensors)


@contextmanager
def joined(device: torch.device) -> Iterator[Group]:
    """The group for which a launcher started this process, or ALONE."""
    group = Group(**vars(member()))
    if group.size == 1:
        yield ALONE
        return
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    with _reaching_others(group):
        dist.init_process_group(backend, timeout=PATIENCE)
    yield group
    group.wait()  # a process that left early would be missed by others that still work
    dist.destroy_process_group()  # not after an error: it could wait for the others for ever


@contextmanager
def _reaching_others(group: Group) -> Iterator[None]:
    """Turns PyTorch's RuntimeError of a closed connection into one sentence."""
    try:
        yield
    except RuntimeError as error:
        # the launcher stops this process here if the lost one is on this machine
        time.sleep(LOST_S)
        # without PyTorch's source lines
        reason = str(error).split("\n")[0].split("] ", 1)[-1].split(". ")[0]
        raise UserError(
            f"process {group.rank + 1} of {group.size} of the group lost the others ({reason}):"
            " read their messages, and run `dvc repro` again; it goes on from the state that was"
            " last kept."
        ) from error
