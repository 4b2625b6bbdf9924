"""What is right, what is wrong and what is neither, by positions and by lists."""

import numpy as np
from vectors import pairs

from vprlib.places.truth import Listed, Near

NEAR = Near(np.array([[0.0, 0], [100, 0]]), np.array([[25.0, 0], [26, 0], [99, 0], [0, 1]]), 25.0)
LISTED = Listed(pairs([0, 5], [], [2]), pairs([3], [1, 2], []), pairs([0], [], [2]), 6)


def test_all_that_is_near_is_positive_and_the_rest_negative() -> None:
    assert [NEAR.positives().of(q).tolist() for q in (0, 1)] == [[0, 3], [2]]
    assert [NEAR.no_negatives().of(q).tolist() for q in (0, 1)] == [[0, 3], [2]]


def test_what_is_in_doubt_is_neither_positive_nor_negative() -> None:
    assert [LISTED.positives().of(q).tolist() for q in range(3)] == [[0, 5], [], [2]]
    assert [LISTED.no_negatives().of(q).tolist() for q in range(3)] == [[0, 3, 5], [1, 2], [2]]
    assert LISTED.is_right(np.array([[0, 3], [1, 2], [2, 0]])).tolist() == [
        [True, False],
        [False, False],
        [True, False],
    ]
    assert LISTED.is_doubtful(np.array([[0, 3], [1, 2], [2, 0]])).tolist() == [
        [False, True],
        [True, True],
        [False, False],
    ]


def test_the_truth_of_some_queries_is_that_of_all() -> None:
    rows = np.array([[0, 2, 3]])
    for truth, queries in ((NEAR, 2), (LISTED, 3)):
        for query in range(queries):
            alone = truth.take(np.array([query]))
            whole = truth.is_right(np.repeat(rows, queries, axis=0))
            assert alone.is_right(rows).tolist() == whole[query : query + 1].tolist()
            assert alone.counts().tolist() == [truth.counts()[query]]
            assert alone.database_size == truth.database_size
