"""Ground truth as matrices, in place of positions."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from vprlib.formats.dialects import read_specification
from vprlib.formats.parse import listed_of, summarise
from vprlib.formats.specification import Layout
from vprlib.pipeline.params import UserError

HARD = np.array([[1, 0], [0, 0], [0, 1]], dtype=np.uint8)
SOFT = np.array([[1, 0], [1, 0], [1, 1]], dtype=np.uint8)
Written = Callable[..., Path]


def fields() -> dict[str, object]:
    return {
        "whichSet": "test",
        "dbImageFns": np.array(["a.jpg", "b.jpg", "c.jpg"], dtype=object)[:, None],
        "qImageFns": np.array(["q.jpg", "r.jpg"], dtype=object)[:, None],
        "numImages": 3,
        "numQueries": 2,
        "gtHard": HARD,
        "gtSoft": SOFT,
    }


@pytest.fixture
def written(tmp_path: Path) -> Written:
    def make(without: str = "", **changes: object) -> Path:
        content = {k: v for k, v in (fields() | changes).items() if k != without}
        scipy.io.savemat(tmp_path / "set.mat", {"dbStruct": content})
        return tmp_path / "set.mat"

    return make


def lists(path: Path, **layout: object) -> list[list[list[int]]]:
    listed = read_specification(path, None, Layout(**layout)).listed
    return [[rows.tolist() for rows in kind] for kind in (listed.right, listed.doubtful)]


def test_hard_is_right_and_what_soft_adds_is_doubtful(written: Written) -> None:
    assert lists(written(), ground_truth="hard") == [[[0], [2]], [[1, 2], []]]


def test_soft_is_right_where_the_layout_says_so(written: Written) -> None:
    assert lists(written()) == [[[0, 1, 2], [2]], [[], []]]


def test_training_positives_are_those_of_the_hard_matrix(written: Written) -> None:
    for kind in ("hard", "soft"):
        found = read_specification(written(), None, Layout(ground_truth=kind)).listed
        assert [rows.tolist() for rows in found.training] == [[0], [2]]
    found = read_specification(written(without="gtHard")).listed
    assert [rows.tolist() for rows in found.training] == [[0, 1, 2], [2]]


@pytest.mark.parametrize("asked", ["hard", "soft"])
def test_one_matrix_is_enough(written: Written, asked: str) -> None:
    assert lists(written(without="gtSoft"), ground_truth=asked) == [[[0], [2]], [[], []]]


def test_there_are_no_positions_and_what_follows_copes(written: Written) -> None:
    found = read_specification(written(without="whichSet"))
    assert found.which_set == ""
    assert np.isnan(found.database_positions).all() and found.database_positions.shape == (3, 2)
    summary = summarise(found)
    assert (summary.query_positions, summary.positive_radius_m) == (None, None)
    assert (summary.queries_without_positive, summary.mean_positives) == (0, 2.0)
    assert summary.sentence() == (
        "3 database images, 2 queries, 0 without a positive on its list, chance recall@1 0.6667"
    )


def test_positions_are_the_truth_where_they_stand_beside_the_matrices(written: Written) -> None:
    near = {"utmDb": np.ones((2, 3)), "utmQ": np.ones((2, 2)), "posDistThr": 25}
    found = read_specification(written(**near, nonTrivPosDistSqThr=100))
    assert found.listed is None and found.positive_radius_m == 25


def test_matrices_equal_their_lists(written: Written) -> None:
    generator = np.random.default_rng(1)
    hard = (generator.random((40, 30)) < 0.1).astype(np.uint8)
    soft = hard | (generator.random((40, 30)) < 0.1)
    names = {
        "dbImageFns": np.array([f"{i}.jpg" for i in range(40)], dtype=object)[:, None],
        "qImageFns": np.array([f"q{i}.jpg" for i in range(30)], dtype=object)[:, None],
        "numImages": 40,
        "numQueries": 30,
    }
    path = written(gtHard=hard, gtSoft=soft, **names)
    listed = listed_of(read_specification(path, None, Layout(ground_truth="hard")))
    rows = np.tile(np.arange(40), (30, 1))
    np.testing.assert_array_equal(listed.is_right(rows), hard.T == 1)
    np.testing.assert_array_equal(listed.is_doubtful(rows), (soft.T == 1) & (hard.T == 0))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"gtHard": HARD.T}, r"gtHard should be a matrix of 3 database images × 2 queries, but"
                             r" is uint8 with shape \(2, 3\)"),
        ({"gtSoft": SOFT[:2]}, r"gtSoft should be a matrix of 3 .* shape \(2, 2\)"),
        ({"gtHard": HARD * 3}, "gtHard should hold 0 and 1, but goes from 0 to 3"),
        ({"gtHard": HARD * np.nan}, "gtHard should hold 0 and 1, but goes from nan to nan"),
        ({"gtHard": "yes"}, "gtHard should be a matrix of 3"),
        ({"numImages": 4}, "dbImageFns has 3 entries, but numImages says 4"),
        ({"without": "qImageFns"}, "lacks the field 'qImageFns'"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_a_sentence(
    written: Written, changes: dict[str, object], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        read_specification(written(**changes))
