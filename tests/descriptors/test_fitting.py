"""Which training images codes are fitted on, and the words that say whether any are needed."""

from pathlib import Path

import numpy as np
import pytest

from vprlib.descriptors.files import is_needed, words
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


@pytest.mark.parametrize("needed", [True, False])
def test_the_words_say_whether_a_code_is_fitted(tmp_path: Path, needed: bool) -> None:
    (tmp_path / "codes.txt").write_text(words(needed))
    assert is_needed(tmp_path / "codes.txt") is needed
