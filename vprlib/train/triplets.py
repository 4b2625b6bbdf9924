"""The steps of an epoch of training on triplets."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from vprlib.pipeline.group import Group
from vprlib.train.augmentation import change_of
from vprlib.train.data import epoch_blocks
from vprlib.train.frozen import SplitNetwork
from vprlib.train.gradients import Step, StepGradients, as_steps
from vprlib.train.mining import Block, Candidates, Describe, select
from vprlib.train.settings import TrainSettings


class TripletSteps:
    """`memory` holds the hardest negatives of each query [Q, n], -1 for none."""

    def __init__(
        self,
        allowed: Candidates,
        settings: TrainSettings,
        network: SplitNetwork,
        learnt: Sequence[Tensor],
        group: Group,
        memory_bytes: int,
    ) -> None:
        self.allowed, self.settings, self.group = allowed, settings, group
        self.device, self.memory_bytes = network.device, memory_bytes
        self.queries = allowed.trainable()
        self.gradients = StepGradients(network, learnt, settings, group)
        columns = settings.skip_hardest + settings.negatives
        self.memory = torch.full((len(allowed.near.counts()), columns), -1, dtype=torch.int64)

    def begin(self, epoch: int, is_resumed: bool, describe: Describe) -> list[np.ndarray]:
        """The queries of each block; a block is mined with the weights at its beginning."""
        return epoch_blocks(self.queries, epoch, self.settings)

    def of_block(
        self, queries: np.ndarray, epoch: int, number: int, describe: Describe
    ) -> tuple[list[Step], int]:
        """The steps, and how many negatives were looked at."""
        settings, block = self.settings, Block(queries, epoch, number)
        memory, hardest, share = self.memory_bytes, self.memory.numpy(), self.group.share
        own = select(block, self.allowed, hardest, settings, describe, self.device, memory, share)
        mined = self.group.interleave(own)
        found, looked_at = [], 0
        for query, seen in zip(queries.tolist(), mined, strict=True):
            self._remember(query, seen.hardest)
            looked_at += max(0, len(seen.hardest) - settings.skip_hardest)
            change = change_of(settings, query, epoch)
            found.append(replace(seen.tuple, change=change) if seen.tuple else None)
        return as_steps(found, settings.queries_a_step, settings.accumulate), looked_at

    def rate(self, epoch: int, step: int, done: int) -> float:
        return self.settings.rate_at(epoch)

    def _remember(self, query: int, hardest: np.ndarray) -> None:
        self.memory[query] = -1
        self.memory[query, : len(hardest)] = torch.from_numpy(hardest)
