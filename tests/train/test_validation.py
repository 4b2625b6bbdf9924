"""Validation by several processes, each with its share of the queries."""

from collections.abc import Callable

import numpy as np
import pytest

from vprlib.pipeline.runtime import RuntimeSettings
from vprlib.places.truth import Near
from vprlib.train.settings import TrainSettings
from vprlib.train.validation import Validation, validate

QUERIES, DATABASE = 23, 60
POSITIONS = {
    "queries": np.random.default_rng(2).uniform(0, 300, (QUERIES, 2)),
    "database": np.random.default_rng(1).uniform(0, 300, (DATABASE, 2)),
}
VECTORS = {
    f"val-{name}": np.random.default_rng(len(at)).normal(size=(len(at), 6)).astype(np.float32)
    for name, at in POSITIONS.items()
}
TRUTH = Near(*POSITIONS.values(), 40.0)
Gather = Callable[[np.ndarray], np.ndarray]


def asked(
    runtime: RuntimeSettings,
    negatives: int,
    share: slice = slice(None),
    gather: Gather = lambda own: own,
) -> Validation:
    def describe(name: str, rows: np.ndarray | None) -> np.ndarray:
        assert rows is None
        return VECTORS[name]

    settings = TrainSettings(rank_loss_negatives=negatives)
    return validate(TRUTH, settings, describe, runtime, share, gather)


def shares_of(runtime: RuntimeSettings, negatives: int, size: int) -> list[list[np.ndarray]]:
    """What each process hands to `gather`."""
    handed = []
    for rank in range(size):
        own = []
        asked(runtime, negatives, slice(rank, None, size), lambda a, o=own: (o.append(a), a)[1])
        handed.append(own)
    return handed


@pytest.mark.parametrize("negatives", [0, 5, 1000])
@pytest.mark.parametrize("size", [2, 3, 40])
def test_shares_put_together_are_worth_what_all_queries_are(
    runtime: RuntimeSettings, negatives: int, size: int
) -> None:
    """More processes than queries, too; each process comes to the same."""
    whole = asked(runtime, negatives)
    handed = shares_of(runtime, negatives, size)
    for rank in range(size):
        calls = iter(range(10))

        def interleaved(own: np.ndarray, calls=calls, rank=rank) -> np.ndarray:
            call = next(calls)
            together = np.empty((QUERIES, *own.shape[1:]), own.dtype)
            for other in range(size):
                together[other::size] = handed[other][call]
            assert np.array_equal(together[rank::size], own, equal_nan=True)
            return together

        found = asked(runtime, negatives, slice(rank, None, size), interleaved)
        assert found.recalls == whole.recalls
        assert found.rank_loss == (pytest.approx(whole.rank_loss, abs=1e-6) if negatives else None)
        assert next(calls) == (2 if negatives else 1)


def test_recall_and_rank_loss_are_means_over_what_was_gathered(runtime: RuntimeSettings) -> None:
    right = np.zeros((4, 20), bool)
    right[0, 0] = right[1, 4] = right[2, 19] = True
    losses = np.array([0.5, np.nan, 0.1, 0.3])
    answers = iter([right, losses])
    found = asked(runtime, 5, slice(0, 1), lambda own: next(answers))
    assert found.recalls == {"recall@1": 0.25, "recall@5": 0.5, "recall@10": 0.5, "recall@20": 0.75}
    assert found.rank_loss == pytest.approx(0.3)
