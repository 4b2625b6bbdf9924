"""The tuples of a block: what is described for each kind of mining, and what it finds."""

import numpy as np
import pytest
import torch

from vprlib.places.geo import pairs_within
from vprlib.train import mining
from vprlib.train.mining import Block, Candidates, Mined, select
from vprlib.train.settings import TrainSettings

QUERIES, DATABASE = 12, 60
POSITIONS = {
    "database": np.random.default_rng(1).uniform(0, 300, (DATABASE, 2)),
    "queries": np.random.default_rng(2).uniform(0, 300, (QUERIES, 2)),
}
VECTORS = {
    name: np.random.default_rng(len(at)).normal(size=(len(at), 6)).astype(np.float32)
    for name, at in POSITIONS.items()
}
NOTHING = np.full((QUERIES, 4), -1)


class Describing:
    """Gives the vectors that are asked for, and NaN for all others."""

    def __init__(self) -> None:
        self.asked = {}

    def __call__(self, name: str, rows: np.ndarray | None) -> np.ndarray:
        self.asked[name] = list(range(len(VECTORS[name]))) if rows is None else rows.tolist()
        found = np.full_like(VECTORS[name], np.nan)
        found[self.asked[name]] = VECTORS[name][self.asked[name]]
        return found


def allowed() -> Candidates:
    sides = POSITIONS["queries"], POSITIONS["database"]
    return Candidates(pairs_within(*sides, 60.0), pairs_within(*sides, 90.0), DATABASE)


TRAINABLE = allowed().trainable()


def rules(kind: str, pool: int = 8, negatives: int = 4, **others: object) -> TrainSettings:
    sizes = {"negatives": negatives, "negative_pool": pool}
    return TrainSettings(margin=0.5, mining=kind, **sizes, **others)


def chosen(
    wanted: TrainSettings,
    hardest: np.ndarray = NOTHING,
    number: int = 0,
    share: slice = slice(None),
    memory: int = 2**30,
) -> tuple[list[Mined], dict[str, list[int]]]:
    describing, block, cpu = Describing(), Block(TRAINABLE, 1, number), torch.device("cpu")
    found = select(block, allowed(), hardest, wanted, describing, cpu, memory, share)
    return found, describing.asked


def plain(found: list[Mined]) -> list[tuple]:
    return [
        (m.tuple and (m.tuple.query, m.tuple.positive, m.tuple.negatives.tolist()),
         m.hardest.tolist()) for m in found
    ]  # fmt: skip


def test_full_mining_describes_the_whole_database_and_the_queries_of_the_block() -> None:
    found, asked = chosen(rules("full"))
    assert asked == {"database": list(range(DATABASE)), "queries": TRAINABLE.tolist()}
    assert len(found) == len(TRAINABLE) > 5
    assert [m.tuple.query for m in found if m.tuple] == [
        query for query, m in zip(TRAINABLE.tolist(), found, strict=True) if m.tuple
    ]


@pytest.mark.parametrize("positive", ["nearest", "random"])
def test_partial_mining_with_a_sample_of_everything_equals_full_mining(positive: str) -> None:
    partial, asked = chosen(rules("partial", pool=1000, positive=positive))
    full, _ = chosen(rules("full", pool=1000, positive=positive))
    assert plain(partial) == plain(full)
    assert len(asked["database"]) == DATABASE


def test_partial_mining_describes_its_sample_the_positives_and_what_is_remembered() -> None:
    _, few = chosen(rules("partial"))
    positives = {row for q in TRAINABLE for row in allowed().positives.of(q).tolist()}
    assert positives <= set(few["database"])
    assert len(set(few["database"]) - positives) <= 8
    far = next(
        row
        for row in range(DATABASE)
        if row not in few["database"] and row not in allowed().near.of(TRAINABLE[0])
    )
    hardest = NOTHING.copy()
    hardest[TRAINABLE[0], 0] = far
    found, more = chosen(rules("partial", negatives=DATABASE), hardest)
    assert set(more["database"]) == {*few["database"], far}
    assert far in found[0].hardest
    for m in found:  # nothing that was not described was looked at
        assert set(m.hardest.tolist()) <= set(more["database"])
        assert m.tuple is None or m.tuple.positive in positives


def test_partial_mining_samples_anew_for_each_block() -> None:
    (_, one), (_, other) = (chosen(rules("partial"), number=number) for number in (0, 1))
    assert one["database"] != other["database"]


def test_random_mining_describes_and_remembers_nothing() -> None:
    found, asked = chosen(rules("random", positive="random"))
    assert asked == {}
    for query, m in zip(TRAINABLE.tolist(), found, strict=True):
        assert m.tuple.query == query
        assert m.tuple.positive in allowed().positives.of(query)
        assert not set(m.tuple.negatives.tolist()) & set(allowed().near.of(query).tolist())
        assert len(m.tuple.negatives) == 4 and len(m.hardest) == 0


KINDS = [rules("full"), rules("partial"), rules("random", positive="random")]


@pytest.mark.parametrize("wanted", KINDS, ids=lambda wanted: wanted.mining)
@pytest.mark.parametrize("size", [2, 3, 100])
def test_shares_describe_what_the_whole_block_does_and_find_it_together(
    wanted: TrainSettings, size: int
) -> None:
    """Shares of nothing, too: they are more than the queries."""
    hardest = np.random.default_rng(5).integers(-1, DATABASE, NOTHING.shape)
    whole, described = chosen(wanted, hardest)
    together = [None] * len(whole)
    for rank in range(size):
        share = slice(rank, None, size)
        together[share], asked = chosen(wanted, hardest, share=share)
        assert asked == described
    assert plain(together) == plain(whole)


@pytest.mark.parametrize("kind", ["full", "partial"])
def test_a_memory_too_small_for_two_queries_changes_nothing(kind: str) -> None:
    assert plain(chosen(rules(kind), memory=1)[0]) == plain(chosen(rules(kind))[0])


@pytest.mark.parametrize("wanted", KINDS, ids=lambda wanted: wanted.mining)
def test_the_pool_of_each_query_is_drawn_once(
    wanted: TrainSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn, whole = [], mining.pool_of
    monkeypatch.setattr(
        mining, "pool_of", lambda query, *o: (drawn.append(query), whole(query, *o))[1]
    )
    chosen(wanted)
    assert drawn == TRAINABLE.tolist()
