"""A specification and its folder: two indices, and counts that are known for real sets."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vprlib.dataset import build_indices, summarise
from vprlib.dialects import read_specification
from vprlib.geo import pairs_within
from vprlib.layout import Layout
from vprlib.params import UserError
from vprlib.specification import Specification

SPECIFICATION = Specification(
    "test",
    ["000/a.jpg", "b.jpg", "c.jpg"],
    np.array([[0.0, 0], [15, 20], [100, 0]]),
    ["q.jpg", "r.jpg", "s.jpg"],
    np.array([[0.0, 0], [0, 0.5], [500, 500]]),
    25.0,
    10.0,
    database_times=np.array([1.0, 2, 3]),
)
LAYOUT = Layout(database_dir="", queries_dir="queries_real")
Find = Callable[[str], Path]


def with_images(folder: Path) -> Path:
    names = [
        *SPECIFICATION.database_names,
        *(f"queries_real/{n}" for n in ["q.jpg", "r.jpg", "s.jpg"]),
    ]
    for width, name in enumerate(names, start=10):
        (folder / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (width, 8)).save(folder / name)
    return folder


def test_both_sides_are_found_below_their_folders(tmp_path: Path) -> None:
    sides = build_indices(
        "city", SPECIFICATION, with_images(tmp_path), tmp_path / "none.csv", LAYOUT, 1
    )
    assert [side.names for side in sides] == [
        ["000/a.jpg", "b.jpg", "c.jpg"],
        ["queries_real/q.jpg", "queries_real/r.jpg", "queries_real/s.jpg"],
    ]
    assert [side.widths.tolist() for side in sides] == [[10, 11, 12], [13, 14, 15]]
    assert [side.set_name for side in sides] == ["city", "city"]
    assert sides[0].extra["time"].tolist() == [1, 2, 3]
    assert sides[1].extra == {}


def test_metadata_is_cut_between_the_sides(tmp_path: Path) -> None:
    names = [*SPECIFICATION.database_names, *SPECIFICATION.query_names]
    rows = "".join(f"{name},{row}\n" for row, name in enumerate(names))
    (tmp_path / "x.csv").write_text("image,heading\n" + rows)
    sides = build_indices(
        "city", SPECIFICATION, with_images(tmp_path), tmp_path / "x.csv", LAYOUT, 1
    )
    assert [side.extra["heading"].tolist() for side in sides] == [[0, 1, 2], [3, 4, 5]]


def test_a_side_without_images_is_a_sentence(tmp_path: Path) -> None:
    empty = replace(SPECIFICATION, query_names=[], query_positions=np.zeros((0, 2)))
    with pytest.raises(UserError, match="the specification of city names no query image"):
        build_indices("city", empty, tmp_path, tmp_path / "x.csv", LAYOUT, 1)


def test_sides_in_different_coordinates_are_a_sentence(tmp_path: Path) -> None:
    apart = replace(SPECIFICATION, query_positions=SPECIFICATION.query_positions + 1e6)
    with pytest.raises(UserError, match="no query of city has a database image within 25 m: check"):
        build_indices("city", apart, tmp_path, tmp_path / "x.csv", LAYOUT, 1)


def test_a_summary_by_hand() -> None:
    found = summarise(SPECIFICATION)
    assert (found.database, found.queries) == (3, 3)
    assert (found.database_positions, found.query_positions) == (3, 3)
    assert found.query_locations_1m == 2
    assert found.queries_without_positive == 1
    assert found.mean_positives == pytest.approx(4 / 3)  # 15-20-25 is inclusive
    assert found.chance_recall_1 == pytest.approx(4 / 9)
    assert found.queries_without_training_positive == 1
    assert found.mean_training_positives == pytest.approx(2 / 3)
    assert "3 queries at 3 positions, 1 without a positive at 25 m" in found.sentence()


KNOWN = {  # name: database, queries, then without and mean positives at 25 m and at 10 m
    "pitts30k_train": (10_000, 7_416, 0, 137.24, 96, 42.25),
    "pitts30k_val": (10_000, 7_608, 0, 140.06, 360, 39.82),
    "pitts30k_test": (10_000, 6_816, 0, 142.08, 384, 38.48),
    "tokyo247": (75_984, 315, 0, 118.29, 0, 36.34),
    "tokyoTM_val": (49_056, 7_186, 0, 241.31, 0, 96.83),
}


@pytest.mark.parametrize("name", KNOWN)
def test_real_sets_have_the_counts_that_are_known(real_spec: Find, name: str) -> None:
    specification = read_specification(real_spec(f"{name}.mat"))
    assert (specification.positive_radius_m, specification.training_radius_m) == (25, 10)
    found = summarise(specification)
    assert KNOWN[name] == (
        found.database,
        found.queries,
        found.queries_without_positive,
        round(found.mean_positives, 2),
        found.queries_without_training_positive,
        round(found.mean_training_positives, 2),
    )


def test_pittsburgh_test_has_the_positions_that_are_known(real_spec: Find) -> None:
    found = summarise(read_specification(real_spec("pitts30k_test.mat")))
    assert (found.database_positions, found.query_positions) == (416, 284)
    assert round(100 * found.chance_recall_1, 2) == 1.42


def test_float32_would_change_the_positives_of_384_queries(real_spec: Find) -> None:
    s = read_specification(real_spec("pitts30k_test.mat"))
    sides = s.query_positions, s.database_positions
    rough = (side.astype(np.float32).astype(np.float64) for side in sides)
    exact, flipped = pairs_within(*sides, 25.0), pairs_within(*rough, 25.0)
    changed = [
        q for q in range(len(s.query_names)) if not np.array_equal(exact.of(q), flipped.of(q))
    ]
    assert len(changed) == 384
