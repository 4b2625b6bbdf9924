"""Training tuples: who may be compared with whom, the nearest positive, the hardest negatives."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from vectors import pairs

from vprlib.formats.dialects import read_specification
from vprlib.images.index import ImageIndex
from vprlib.places.truth import Listed
from vprlib.train import mining
from vprlib.train.mining import (
    Candidates,
    Mined,
    Pool,
    Tuple,
    block_sample,
    candidates,
    mine_block,
    pool_of,
    pooled_rows,
    random_negatives,
    random_tuple,
)
from vprlib.train.settings import TrainSettings

MakeIndex = Callable[..., ImageIndex]
NONE = np.full(3, -1)
CPU, MEMORY = torch.device("cpu"), 2**30


def rules(negatives: int = 3, distance: str = "squared", **others: object) -> TrainSettings:
    return TrainSettings(negatives=negatives, distance=distance, **others)


def mined(
    descriptor: np.ndarray,
    database: np.ndarray,
    found: Candidates,
    remembered: np.ndarray,
    rules: TrainSettings,
) -> Mined:
    """What the first query finds in its own pool."""
    pool = pool_of(0, found, remembered, rules, epoch=1)
    [one] = mine_block([pool], descriptor[None], database, rules, CPU, MEMORY)
    return one


def allowed(positives: list[int], near: list[int], size: int) -> Candidates:
    """Candidates of a single query."""
    return Candidates(pairs(positives), pairs(near), size)


def on_a_line(*distances: float) -> np.ndarray:
    """Descriptors at these distances from a query at the origin."""
    return np.array([[d, 0.0] for d in distances], dtype=np.float32)


ORIGIN = np.zeros(2, np.float32)


def test_candidates_by_hand(index_at: MakeIndex) -> None:
    queries = index_at([[0, 0], [300, 0]])
    database = index_at([[0.5, 0], [1, 0], [1.5, 0], [6, 8], [6, 8.1], [15, 20], [26, 0]])
    found = candidates(queries, database, 10, 25, exclude_same_spot=True)
    assert found.positives.of(0).tolist() == [2, 3]  # farther than 1 m, and 10 m is inclusive
    assert found.near.of(0).tolist() == [0, 1, 2, 3, 4, 5]  # 25 m is not yet a negative
    assert found.positives.of(1).tolist() == []
    assert found.trainable().tolist() == [0]
    everything = candidates(queries, database, 10, 25, exclude_same_spot=False)
    assert everything.positives.of(0).tolist() == [0, 1, 2, 3]


def test_positives_need_another_time_and_another_spot(index_at: MakeIndex) -> None:
    queries = index_at([[0, 0]], {"time": np.array([2012.5])})
    database = index_at(
        [[0, 0], [5, 0], [0.5, 0], [5, 5], [50, 0]],
        {"time": np.array([2012.5, 2012.5, 2013.0, 2013.0, 2013.0])},
    )
    assert candidates(queries, database, 10, 25, True).positives.of(0).tolist() == [3]
    assert candidates(queries, database, 10, 25, False).positives.of(0).tolist() == [2, 3]


def test_times_of_one_side_alone_exclude_nothing(index_at: MakeIndex) -> None:
    queries, database = index_at([[0, 0]], {"time": np.ones(1)}), index_at([[5, 0]])
    assert candidates(queries, database, 10, 25, True).positives.of(0).tolist() == [0]


def test_a_query_without_a_definite_negative_is_not_trained_on(index_at: MakeIndex) -> None:
    found = candidates(index_at([[0, 0]]), index_at([[5, 0], [8, 0]]), 10, 25, True)
    assert found.trainable().tolist() == []


def test_candidates_equal_the_double_loop(index_at: MakeIndex) -> None:
    generator = np.random.default_rng(2)
    q, d = (generator.uniform(0, 60, (n, 2)).round() for n in (30, 50))
    tq, td = (generator.integers(0, 3, n).astype(float) for n in (30, 50))
    found = candidates(index_at(q, {"time": tq}), index_at(d, {"time": td}), 10, 25, True)
    for i in range(30):
        apart = [np.hypot(*(d[j] - q[i])) for j in range(50)]
        twin = [j for j in range(50) if 1 < apart[j] <= 10 and td[j] != tq[i]]
        assert found.positives.of(i).tolist() == twin
        assert found.near.of(i).tolist() == [j for j in range(50) if apart[j] <= 25]


def test_lists_say_who_is_positive_and_who_is_no_negative(index_at: MakeIndex) -> None:
    queries, database = index_at(np.full((3, 2), np.nan)), index_at(np.full((4, 2), np.nan))
    right, doubtful = pairs([1, 2], [], [0, 3]), pairs([0], [3], [1, 2])
    found = candidates(queries, database, 10, 25, True, Listed(right, doubtful, right, 4))
    assert [found.positives.of(q).tolist() for q in range(3)] == [[1, 2], [], [0, 3]]
    assert [found.near.of(q).tolist() for q in range(3)] == [[0, 1, 2], [3], [0, 1, 2, 3]]
    assert found.trainable().tolist() == [0]  # 1 has no positive, 2 no negative


def test_tokyo_time_machine_has_the_training_positives_that_are_known(
    real_spec: Callable[[str], Path], index_at: MakeIndex
) -> None:
    s = read_specification(real_spec("tokyoTM_val.mat"))
    queries = index_at(s.query_positions, {"time": s.query_times})
    database = index_at(s.database_positions, {"time": s.database_times})
    found = candidates(queries, database, s.training_radius_m, s.positive_radius_m, True)
    assert round(float(found.positives.counts().mean()), 2) == 42.93


def test_random_negatives_are_all_where_there_are_fewer() -> None:
    found = random_negatives(allowed([0], [0, 3, 4, 9], 10), 0, rules(negative_pool=1000), 1)
    assert found.tolist() == [1, 2, 5, 6, 7, 8]


@pytest.mark.parametrize("near", [[], [0], [9], [0, 1, 2], [3, 4, 8], [0, 2, 4, 6, 8], [7, 8, 9]])
def test_random_negatives_are_distinct_uniform_and_never_near(near: list[int]) -> None:
    outside = sorted(set(range(10)) - set(near))
    counts = np.zeros(10)
    for seed in range(700):
        found = random_negatives(allowed([0], near, 10), 0, rules(negative_pool=3, seed=seed), 1)
        assert len(set(found.tolist())) == 3
        assert found.tolist() == sorted(found)
        counts[found] += 1
    assert not counts[near].any()
    expected = 700 * 3 / len(outside)
    assert np.abs(counts[outside] - expected).max() < 5 * expected**0.5


def test_random_negatives_change_with_epoch_and_query_and_come_again() -> None:
    two = Candidates(pairs([0], [0]), pairs([0], [0]), 1000)
    one, again = (random_negatives(two, 0, rules(negative_pool=20), 1).tolist() for _ in "ab")
    assert one == again
    assert one != random_negatives(two, 0, rules(negative_pool=20), 2).tolist()
    assert one != random_negatives(two, 1, rules(negative_pool=20), 1).tolist()
    assert one != random_negatives(two, 0, rules(negative_pool=20, seed=2), 1).tolist()


def test_a_tuple_by_hand() -> None:
    database = on_a_line(0.9, 0.5, 0.1, 0.58, 0.55, 0.7, 0.2)  # 0.5² + 0.1 = 0.35 = 0.5916²
    found = mined(ORIGIN, database, allowed([0, 1], [0, 1, 2], 7), NONE, rules())
    assert found.tuple.query == 0
    assert found.tuple.positive == 1  # the nearest of 0 and 1
    assert found.tuple.negatives.tolist() == [6, 4, 3]  # nearest first; 2 is near, 5 beyond
    assert found.hardest.tolist() == [6, 4, 3]


def test_only_negatives_that_violate_the_margin_are_learnt_from_but_all_are_remembered() -> None:
    database = on_a_line(0.5, 0.55, 0.7, 0.9)
    found = mined(ORIGIN, database, allowed([0], [0], 4), NONE, rules())
    assert found.tuple.negatives.tolist() == [1]
    assert found.hardest.tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("distance", "limit"), [("squared", (0.25 + 0.1) ** 0.5), ("l2", 0.5 + 0.1**0.5)]
)
def test_the_margin_belongs_to_the_kind_of_distance(distance: str, limit: float) -> None:
    database = on_a_line(0.5, limit - 1e-4, limit + 1e-4)
    found = mined(ORIGIN, database, allowed([0], [0], 3), NONE, rules(distance=distance))
    assert found.tuple.negatives.tolist() == [1]


def test_nothing_that_violates_gives_no_tuple() -> None:
    database = on_a_line(0.1, 0.9, 0.8)
    found = mined(ORIGIN, database, allowed([0], [0], 3), NONE, rules())
    assert found.tuple is None
    assert found.hardest.tolist() == [2, 1]


def test_hardest_negatives_of_last_time_are_looked_at_again() -> None:
    generator = np.random.default_rng(1)
    database = generator.uniform(1, 2, (500, 2)).astype(np.float32)
    database[0], database[437] = (0.5, 0), (0.01, 0)
    few = rules(negative_pool=5)
    without = mined(ORIGIN, database, allowed([0], [0], 500), NONE, few)
    assert 437 not in without.hardest
    found = mined(ORIGIN, database, allowed([0], [0], 500), np.array([437, -1, -1]), few)
    assert found.tuple.negatives.tolist() == [437]
    assert found.hardest[0] == 437
    assert len(found.hardest) == 3


def test_a_remembered_negative_is_not_counted_twice() -> None:
    database = on_a_line(0.5, 0.1, 0.2, 0.3)
    found = mined(ORIGIN, database, allowed([0], [0], 4), np.array([1, 2, 1]), rules())
    assert found.tuple.negatives.tolist() == [1, 2, 3]


def by_hand(database: np.ndarray, queries: np.ndarray) -> list[tuple]:
    """What two queries find whose pools overlap."""
    pools = [Pool(1, np.array([0, 2]), np.array([1, 3, 4])), Pool(0, np.array([4]), np.array([0]))]
    found = mine_block(pools, queries, database, rules(negatives=2, margin=4), CPU, MEMORY)
    return [plain(one) for one in found]


def plain(found: Mined) -> tuple:
    one = found.tuple
    return one and (one.query, one.positive, one.negatives.tolist()), found.hardest.tolist()


def test_a_block_by_hand() -> None:
    database = np.array([[0, 0], [3, 0], [0, 2], [2, 0], [0, 5]], np.float32)
    queries = np.array([[0, 6], [0, 1]], np.float32)
    # query 1 to 0 … 4: 1, 10, 1, 5, 16; the nearest positive is 0, and 5 is not below 1 + 4
    # query 0 to 4: 1, to 0: 36
    assert by_hand(database, queries) == [(None, [3, 1]), (None, [0])]
    queries[1] = (1, 0)  # 1, 4, 5, 1, 26
    assert by_hand(database, queries) == [((1, 0, [3, 1]), [3, 1]), (None, [0])]


def test_of_equal_distances_the_lowest_row_is_taken() -> None:
    database = on_a_line(3, 2, 1, 2, 1, 1, 2)
    pool = Pool(0, np.array([1, 3]), np.array([2, 4, 5, 6]))
    [found] = mine_block([pool], ORIGIN[None], database, rules(negatives=2), CPU, MEMORY)
    assert plain(found) == ((0, 1, [2, 4]), [2, 4])
    many = Pool(0, np.array([0]), np.arange(1, 300))
    far = np.append(0.5, np.random.default_rng(1).choice([1, 2], 299))
    [found] = mine_block([many], ORIGIN[None], on_a_line(*far), rules(200), CPU, MEMORY)
    assert found.hardest.tolist() == sorted(range(1, 300), key=lambda row: (far[row], row))[:200]


def a_block(count: int = 12, size: int = 70, dim: int = 9) -> tuple[list[Pool], np.ndarray, ...]:
    """Pools of queries in no order, and descriptors of more queries than those."""
    draw = np.random.default_rng(8)
    pools = []
    for query in draw.permutation(count + 5)[:count].tolist():
        mixed = draw.permutation(size)
        sides = np.split(mixed[: draw.integers(6, 30)], [draw.integers(1, 5)])
        pools.append(Pool(query, *(np.sort(side) for side in sides)))
    queries, database = (draw.normal(size=(n, dim)).astype(np.float32) for n in (count + 5, size))
    return pools, queries, database


def slowly(pool: Pool, queries: np.ndarray, database: np.ndarray, rules: TrainSettings) -> Mined:
    """One distance after the other."""
    power, margin = (2, rules.margin) if rules.distance == "squared" else (1, rules.margin**0.5)

    def apart(row: int) -> float:
        return float(np.linalg.norm(database[row].astype(np.float64) - queries[pool.query]))

    positive = min(pool.positives.tolist(), key=apart)
    hardest = sorted(pool.negatives.tolist(), key=apart)[: rules.skip_hardest + rules.negatives]
    limit = apart(positive) ** power + margin
    negatives = [row for row in hardest[rules.skip_hardest :] if apart(row) ** power < limit]
    found = Tuple(pool.query, positive, np.array(negatives)) if negatives else None
    return Mined(found, np.array(hardest))


@pytest.mark.parametrize("distance", ["squared", "l2"])
@pytest.mark.parametrize("skip", [0, 2])
@pytest.mark.parametrize("memory", [1, 2000, 20_000, MEMORY])
def test_a_block_equals_one_distance_after_the_other(distance: str, skip: int, memory: int) -> None:
    """In a memory too small for two rows, too."""
    pools, *sides = a_block()
    setting = rules(negatives=4, margin=0.5, distance=distance, skip_hardest=skip)
    found = [plain(one) for one in mine_block(pools, *sides, setting, CPU, memory)]
    assert found == [plain(slowly(pool, *sides, setting)) for pool in pools]
    assert len({len(one[0][2]) if one[0] else 0 for one in found}) > 1


def test_blocks_of_any_size_give_the_same() -> None:
    pools, *sides = a_block()
    whole = [plain(one) for one in mine_block(pools, *sides, rules(), CPU, MEMORY)]
    for size in (1, 5, 11):
        parts = [pools[start : start + size] for start in range(0, len(pools), size)]
        found = [one for part in parts for one in mine_block(part, *sides, rules(), CPU, MEMORY)]
        assert [plain(one) for one in found] == whole
    assert list(mine_block([], *sides, rules(), CPU, MEMORY)) == []


@pytest.mark.parametrize("kept", [2, 12])
def test_only_rows_of_a_pool_need_hold_a_descriptor(kept: int) -> None:
    """With few of the database in a pool, and with most."""
    pools, queries, database = a_block()
    expected = [plain(one) for one in mine_block(pools[:kept], queries, database, rules(), CPU,
                MEMORY)]  # fmt: skip
    wanted = pooled_rows(pools[:kept], len(database))
    assert (2 * len(wanted) > len(database)) == (kept == 12)
    database[np.setdiff1d(np.arange(len(database)), wanted)] = np.nan
    queries[np.setdiff1d(np.arange(len(queries)), [pool.query for pool in pools])] = np.nan
    for memory in (2000, MEMORY):
        found = mine_block(pools[:kept], queries, database, rules(), CPU, memory)
        assert [plain(one) for one in found] == expected


@pytest.mark.parametrize(("kept", "read"), [(2, "wanted"), (12, "all")])
def test_few_rows_are_gathered_and_most_are_read_as_one(
    kept: int, read: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pools, queries, database = a_block()
    seen, whole = [], mining.squared_distances
    monkeypatch.setattr(
        mining,
        "squared_distances",
        lambda q, d, rows, *o: (seen.append(rows), whole(q, d, rows, *o))[1],
    )
    list(mine_block(pools[:kept], queries, database, rules(), CPU, MEMORY))
    wanted = pooled_rows(pools[:kept], 70)
    assert len(wanted) < 70
    assert [rows.tolist() for rows in seen] == [
        list(range(70)) if read == "all" else wanted.tolist()
    ]


def test_pools_are_drawn_when_their_turn_comes() -> None:
    pools, *sides = a_block()
    drawn = []
    waiting = (drawn.append(pool.query) or pool for pool in pools)
    next(mine_block(waiting, *sides, rules(), CPU, 4 * 5 * 4 * 3 * len(sides[1])))
    assert drawn == [pool.query for pool in pools[:5]]


def test_pooled_rows_come_once_and_rise() -> None:
    pools = [Pool(0, np.array([7]), np.array([1, 4])), Pool(1, np.array([4]), np.array([0, 7]))]
    assert pooled_rows(pools, 9).tolist() == [0, 1, 4, 7]
    assert pooled_rows([], 9).tolist() == []


def test_the_very_hardest_are_left_out_and_still_remembered() -> None:
    database = on_a_line(0.5, 0.1, 0.2, 0.3, 0.4, 0.9)
    two = rules(negatives=2, skip_hardest=1)
    found = mined(ORIGIN, database, allowed([0], [0], 6), np.full(3, -1), two)
    assert found.tuple.negatives.tolist() == [2, 3]
    assert found.hardest.tolist() == [1, 2, 3]
    again = mined(ORIGIN, database, allowed([0], [0], 6), found.hardest, two)
    assert again.tuple.negatives.tolist() == [2, 3]


@pytest.mark.parametrize("skip", [3, 4, 100])
def test_where_all_negatives_are_left_out_there_is_no_tuple(skip: int) -> None:
    found = mined(
        ORIGIN, on_a_line(0.5, 0.1, 0.2, 0.3), allowed([0], [0], 4), NONE, rules(skip_hardest=skip)
    )
    assert found.tuple is None
    assert found.hardest.tolist() == [1, 2, 3]


def test_a_random_positive_is_any_of_the_potential_ones_and_decides_what_violates() -> None:
    database = on_a_line(0.1, 0.5, 0.9, 0.6)
    taken = set()
    for seed in range(40):
        setting = rules(positive="random", seed=seed)
        found = mined(ORIGIN, database, allowed([0, 1, 2], [0, 1, 2], 4), NONE, setting)
        violating = found.tuple is not None
        taken.add(found.tuple.positive if violating else None)
    assert taken == {None, 2}  # 0.6 lies beyond the margin of 0.1 and of 0.5, not of 0.9
    pools = [pool_of(0, allowed([3, 5, 8], [3], 9), NONE, rules(positive="random"), e) for e in
             range(300)]  # fmt: skip
    counts = np.bincount([int(pool.positives[0]) for pool in pools], minlength=9)
    assert all(len(pool.positives) == 1 for pool in pools)
    assert set(np.flatnonzero(counts)) == {3, 5, 8} and counts[[3, 5, 8]].min() > 70


def test_random_tuples_keep_all_of_a_few_random_negatives() -> None:
    blind = rules(negatives=3, negative_pool=1000, mining="random", positive="random")
    found = [random_tuple(pool_of(0, allowed([2, 4], [2, 4, 7], 50), NONE, blind, e)) for e in
             range(200)]  # fmt: skip
    assert {t.positive for t in found} == {2, 4}
    assert {len(set(t.negatives.tolist())) for t in found} == {3}
    seen = {row for t in found for row in t.negatives.tolist()}
    assert seen == set(range(50)) - {2, 4, 7}


def test_a_random_tuple_has_fewer_negatives_where_there_are_fewer() -> None:
    blind = rules(negatives=9, mining="random", positive="random")
    found = random_tuple(pool_of(0, allowed([0], [0, 1], 4), NONE, blind, 1))
    assert found.negatives.tolist() == [2, 3]


def test_a_sample_of_the_block_is_taken_without_what_is_near_and_with_what_is_remembered() -> None:
    sample = np.array([1, 3, 4, 8])
    pool = pool_of(0, allowed([3], [3, 4], 10), np.array([9, 1, -1]), rules(), 1, sample)
    assert (pool.positives.tolist(), pool.negatives.tolist()) == ([3], [1, 8, 9])
    none = pool_of(0, allowed([3], [1, 3, 4, 8], 10), NONE, rules(), 1, sample)
    [found] = mine_block([none], ORIGIN[None], on_a_line(*range(10)), rules(), CPU, MEMORY)
    assert found.tuple is None and len(found.hardest) == 0


def test_samples_of_blocks_are_distinct_rows_and_change_with_the_block() -> None:
    one = block_sample(500, rules(negative_pool=20), 1, 0)
    assert len(set(one.tolist())) == 20 and one.tolist() == sorted(one)
    assert one.tolist() == block_sample(500, rules(negative_pool=20), 1, 0).tolist()
    for other in (
        block_sample(500, rules(negative_pool=20), 1, 1),
        block_sample(500, rules(negative_pool=20), 2, 0),
        block_sample(500, rules(negative_pool=20, seed=2), 1, 0),
    ):
        assert one.tolist() != other.tolist()
    assert block_sample(5, rules(negative_pool=20), 1, 0).tolist() == [0, 1, 2, 3, 4]


def test_references_against_themselves_are_never_their_own_positive_or_negative(
    index_at: MakeIndex,
) -> None:
    references = index_at([[0, 0], [0, 0], [30, 0], [200, 0]])
    found = candidates(references, references, 50, 50, False).without_self()
    assert [found.positives.of(q).tolist() for q in range(4)] == [[1, 2], [0, 2], [0, 1], []]
    assert all(query in found.near.of(query) for query in range(4))
    assert found.trainable().tolist() == [0, 1, 2]


def test_berlin_references_all_have_a_positive_and_a_negative_among_themselves(
    real_spec: Callable[[str], Path], index_at: MakeIndex
) -> None:
    import scipy.io

    fields = scipy.io.loadmat(real_spec("berlin.mat"))["dbStruct"].reshape(-1)
    references = index_at(fields[1].astype(np.float64))
    found = candidates(references, references, 50, 50, False).without_self()
    assert len(references) == 314
    assert found.trainable().tolist() == list(range(314))
    assert found.positives.counts().min() == 2
