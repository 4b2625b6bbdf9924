"""Random rows: distinct, rising, and the same for the same seed."""

import numpy as np

from vprlib.pipeline.draws import choose_rows


def test_rows_are_random_distinct_and_rising() -> None:
    rows = choose_rows(1000, 50, seed=1)
    assert len(set(rows.tolist())) == 50 and (np.diff(rows) > 0).all()
    assert rows.min() >= 0 and rows.max() < 1000 and rows.max() > 500


def test_where_there_are_fewer_images_all_are_taken() -> None:
    assert choose_rows(7, 10_000, seed=1).tolist() == list(range(7))


def test_the_same_seed_chooses_the_same_rows_and_another_others() -> None:
    one, again, other = (choose_rows(1000, 50, seed) for seed in (1, 1, 2))
    assert one.tolist() == again.tolist() != other.tolist()
