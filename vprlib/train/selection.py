"""Selects the training tuples of a block of queries, mined by descriptors or at random."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch

from vprlib.pipeline.progress import progress
from vprlib.train.mining import (
    Candidates,
    Mined,
    Pool,
    block_sample,
    mine_block,
    pool_of,
    pooled_rows,
    random_tuple,
)
from vprlib.train.settings import TrainSettings

# descriptors by row of the source of that name: of these rows, or of all if there is None
Describe = Callable[[str, np.ndarray | None], np.ndarray]
_NO_ROWS = np.zeros(0, np.int64)


@dataclass(frozen=True)
class Block:
    """Queries that are mined with the same weights of the network."""

    queries: np.ndarray
    epoch: int
    number: int  # within the epoch


def select(
    block: Block,
    allowed: Candidates,
    hardest: np.ndarray,
    settings: TrainSettings,
    describe: Describe,
    device: torch.device,
    memory_bytes: int,
    share: slice = slice(None),
) -> list[Mined]:
    """The mined tuple of each query of this share of the block, in order.

    `hardest` [Q, n] are the remembered negatives of each query, -1 for none. `full` describes the
    whole database, `partial` the pools of the whole block, and `random` nothing. This is the same
    for every share, even an empty one, so that several processes describe together.
    """
    sample = None
    if settings.mining == "partial":
        sample = block_sample(allowed.database_size, settings, block.epoch, block.number)

    def pool(query: int) -> Pool:
        return pool_of(query, allowed, hardest[query], settings, block.epoch, sample)

    own = block.queries[share].tolist()
    if settings.mining == "random":
        return [Mined(random_tuple(pool(query)), _NO_ROWS) for query in own]
    pools: Iterable[Pool] = map(pool, own)  # lazily
    rows = None
    if settings.mining == "partial":
        everyone = [pool(query) for query in block.queries.tolist()]
        pools, rows = everyone[share], pooled_rows(everyone, allowed.database_size)
    database = describe("database", rows)
    descriptors = describe("queries", block.queries)
    mined = mine_block(pools, descriptors, database, settings, device, memory_bytes)
    return list(progress(mined, len(own), f"epoch {block.epoch}: mining", "query"))
