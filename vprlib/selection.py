"""The tuples of a block of queries: mined by descriptors, or drawn blindly."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from vprlib.batches import ImageSource
from vprlib.mining import Mined, MiningRules, Pool, blind_tuple, block_sample, mine, pool_of
from vprlib.progress import progress
from vprlib.training_data import TrainingData

_NO_ROWS = np.zeros(0, np.int64)


class Describe(Protocol):
    def __call__(self, name: str, source: ImageSource, rows: np.ndarray | None) -> np.ndarray:
        """Descriptors by row, those of `rows` or of all; the others are anything."""
        ...


@dataclass(frozen=True)
class Block:
    """Queries that share one look at the network: its weights change in between."""

    queries: np.ndarray
    epoch: int
    number: int  # within the epoch


def select(
    block: Block, data: TrainingData, hardest: np.ndarray, rules: MiningRules, describe: Describe
) -> Iterator[Mined]:
    """What each query of the block learns from, in their order.

    `hardest` [Q, n] are the negatives remembered of each query, -1 for none. `full` describes the
    whole database, `partial` what a pool of the block holds, and `random` nothing.
    """
    sample = None
    if rules.kind == "partial":
        sample = block_sample(data.candidates.database_size, rules, block.epoch, block.number)

    def pool(query: int) -> Pool:
        return pool_of(query, data.candidates, hardest[query], rules, block.epoch, sample)

    queries = block.queries.tolist()
    label = f"epoch {block.epoch}: mining"
    if rules.kind == "random":
        yield from (Mined(blind_tuple(pool(query)), _NO_ROWS) for query in queries)
        return
    rows = None if rules.kind == "full" else pooled_rows(map(pool, queries), data)
    database = describe("database", data.train.database, rows)
    descriptors = describe("queries", data.train.queries, block.queries)
    for query in progress(queries, len(queries), label, "query"):
        yield mine(pool(query), descriptors[query], database, rules)


def pooled_rows(pools: Iterable[Pool], data: TrainingData) -> np.ndarray:
    """Each database row that stands in a pool, once, rising."""
    is_wanted = np.zeros(data.candidates.database_size, bool)
    for pool in pools:
        is_wanted[pool.positives] = True
        is_wanted[pool.negatives] = True
    return np.flatnonzero(is_wanted)
