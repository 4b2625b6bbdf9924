"""The cell array without names: Berlin Kudamm, Nordland."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import toy

from vprlib.formats.dialects import read_specification
from vprlib.pipeline.params import UserError

DATABASE = np.array([[383_697.196480341, 5_817_547.1], [383_704.4, 5_817_548.2], [1.5, 2.5]])
QUERIES = np.array([[383_694.25, 5_817_549.2]])


def cells(**changes: object) -> list[object]:
    """In the order of the real files, names as a padded character matrix."""
    values = {
        "dbImage": np.array(["Ref/Image (2).jpg  ", "Ref/b.jpg", "Ref/c d.jpg"]),
        "locDb": DATABASE,
        "qImage": np.array(["Query/q.jpg"]),
        "locQ": QUERIES,
        "numDb": 3,
        "numQ": 1,
        "posDistThr": 50,
        "posDistSqThr": 2500,
    }
    return list((values | changes).values())


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    def make(**changes: object) -> Path:
        toy.write_cells(tmp_path / "set.mat", cells(**changes))
        return tmp_path / "set.mat"

    return make


Written = Callable[..., Path]


def test_a_cell_array_reads_back_as_it_was_written(written: Written) -> None:
    found = read_specification(written())
    assert found.database_names == ["Ref/Image (2).jpg", "Ref/b.jpg", "Ref/c d.jpg"]
    assert found.query_names == ["Query/q.jpg"]
    np.testing.assert_array_equal(found.database_positions, DATABASE)
    np.testing.assert_array_equal(found.query_positions, QUERIES)
    assert found.database_positions.dtype == np.float64
    assert found.listed is None


def test_there_is_no_training_radius_but_its_own(written: Written) -> None:
    found = read_specification(written(posDistThr=np.uint8(50)))
    assert (found.positive_radius_m, found.training_radius_m) == (50, 50)


def test_positions_the_other_way_round_are_turned_where_only_that_fits(written: Written) -> None:
    found = read_specification(written(locDb=DATABASE.T, locQ=QUERIES.T))
    np.testing.assert_array_equal(found.database_positions, DATABASE)
    np.testing.assert_array_equal(found.query_positions, QUERIES)


def test_two_images_have_their_positions_in_rows(written: Written) -> None:
    two = {"dbImage": np.array(["a.jpg", "b.jpg"]), "numDb": 2, "locDb": DATABASE[:2]}
    np.testing.assert_array_equal(
        read_specification(written(**two)).database_positions, DATABASE[:2]
    )


@pytest.mark.parametrize("frames", [np.array([[7], [8], [9]]), np.array([7.0, 8.0, 9.0])])
def test_frame_numbers_get_a_second_coordinate_of_zero(
    written: Written, frames: np.ndarray
) -> None:
    found = read_specification(written(locDb=frames, locQ=np.array([[8]]), posDistThr=5))
    assert found.database_positions.tolist() == [[7, 0], [8, 0], [9, 0]]
    assert found.query_positions.tolist() == [[8, 0]]
    assert found.positive_radius_m == 5


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"locDb": np.ones((4, 2))}, r"locDb should be a matrix of 3×2 .* shape \(4, 2\)"),
        ({"locDb": np.ones((3, 3))}, r"locDb should be a matrix of 3×2 .* shape \(3, 3\)"),
        ({"locQ": "here"}, "locQ should be a matrix of 1×2 metres or 1×1 frame numbers"),
        ({"locQ": np.array([[1, np.nan]])}, "locQ is not a finite number at place 0"),
        ({"numDb": 4}, r"counts disagree: 3 names, but numDb says \[4\]"),
        ({"numQ": 0}, r"counts disagree: 1 names, but numQ says \[0\]"),
        ({"posDistThr": 0}, "posDistThr should be one positive number"),
        ({"dbImage": np.ones(3)}, "dbImage should be names in a cell array or a character"),
        ({"qImage": np.array(["../q.jpg"])}, "leaves its folder"),
        ({"more": 9}, r"cell array of dbImage, locDb, .* but is an array of object .*\(1, 9\)"),
    ],
)
def test_what_does_not_fit_is_a_sentence(
    tmp_path: Path, changes: dict[str, object], sentence: str
) -> None:
    toy.write_cells(tmp_path / "set.mat", cells(**changes))
    with pytest.raises(UserError, match=sentence):
        read_specification(tmp_path / "set.mat")


def test_berlin_has_the_counts_and_names_that_are_known(real_spec: Callable[[str], Path]) -> None:
    found = read_specification(real_spec("berlin.mat"))
    assert (len(found.database_names), len(found.query_names)) == (314, 280)
    assert found.positive_radius_m == 50
    assert found.database_names[0] == "Reference_resized/Image_(2).jpg"
    assert found.query_names[-1] == "Query_resized/seq2Image_280.jpg"
    assert found.database_positions.shape == (314, 2)
    assert np.allclose(found.database_positions[0], [383_697.196, 5_817_547.097], atol=1e-3)
