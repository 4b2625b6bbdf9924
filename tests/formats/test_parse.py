"""A specification and its folder: two indices, and counts that are known for real sets."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vprlib.formats.checks import Findings
from vprlib.formats.dialects import read_specification
from vprlib.formats.parse import ParsedSet, build_indices, listed_of, summarise, truth_of
from vprlib.formats.specification import Layout, Lists, Specification
from vprlib.pipeline.params import UserError
from vprlib.places.geo import pairs_within

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


@pytest.fixture
def parsed(tmp_path: Path) -> Callable[..., ParsedSet]:
    """Both sides of a specification whose images lie below the test's folder."""

    def parse(specification: Specification = SPECIFICATION, metadata: str = "none") -> ParsedSet:
        report = tmp_path / "reports/city_missing.txt"
        return build_indices(
            "city", specification, tmp_path, tmp_path / f"{metadata}.csv", LAYOUT, report, 1
        )

    return parse


Parsed = Callable[..., ParsedSet]


def test_both_sides_are_found_below_their_folders(tmp_path: Path, parsed: Parsed) -> None:
    with_images(tmp_path)
    sides = parsed().database, parsed().queries
    assert [side.names for side in sides] == [
        ["000/a.jpg", "b.jpg", "c.jpg"],
        ["queries_real/q.jpg", "queries_real/r.jpg", "queries_real/s.jpg"],
    ]
    assert [side.widths.tolist() for side in sides] == [[10, 11, 12], [13, 14, 15]]
    assert [side.set_name for side in sides] == ["city", "city"]
    assert sides[0].extra["time"].tolist() == [1, 2, 3]
    assert sides[1].extra == {}
    assert parsed().findings == Findings(0, 0, 0, 0)


def test_metadata_is_cut_between_the_sides(tmp_path: Path, parsed: Parsed) -> None:
    names = [*SPECIFICATION.database_names, *SPECIFICATION.query_names]
    rows = "".join(f"{name},{row}\n" for row, name in enumerate(names))
    (tmp_path / "x.csv").write_text("image,heading\n" + rows)
    with_images(tmp_path)
    found = parsed(metadata="x")
    assert found.database.extra["heading"].tolist() == [0, 1, 2]
    assert found.queries.extra["heading"].tolist() == [3, 4, 5]


def test_what_a_specification_knows_of_its_images_is_kept(tmp_path: Path, parsed: Parsed) -> None:
    with_images(tmp_path)
    known = replace(SPECIFICATION, query_extra={"heading": np.array([1.0, 2, 3])})
    assert parsed(known).queries.extra["heading"].tolist() == [1, 2, 3]
    assert list(parsed(known).database.extra) == ["time"]


def test_images_under_another_suffix_are_used_and_counted(tmp_path: Path, parsed: Parsed) -> None:
    with_images(tmp_path)
    (tmp_path / "b.jpg").rename(tmp_path / "b.PNG")
    (tmp_path / "queries_real/q.jpg").rename(tmp_path / "queries_real/q.png")
    found = parsed()
    assert found.database.names == ["000/a.jpg", "b.PNG", "c.jpg"]
    assert found.queries.names[0] == "queries_real/q.png"
    assert found.findings.renamed == 2


def test_what_is_missing_on_either_side_is_counted_and_all_of_it_listed(
    tmp_path: Path, parsed: Parsed
) -> None:
    with_images(tmp_path)
    for name in ("000/a.jpg", "c.jpg", "queries_real/q.jpg", "queries_real/s.jpg"):
        (tmp_path / name).unlink()
    report = tmp_path / "reports/city_missing.txt"
    with pytest.raises(UserError) as caught:
        parsed()
    assert str(caught.value) == (
        f"2 of 3 database images and 2 of 3 query images are missing below {tmp_path}: 000/a.jpg,"
        f" c.jpg, queries_real/q.jpg, …; {report} lists them all; {tmp_path} is there: complete"
        " what it holds, or correct `layout` of the set in params.yaml."
    )
    assert report.read_text() == "000/a.jpg\nc.jpg\nqueries_real/q.jpg\nqueries_real/s.jpg\n"
    with_images(tmp_path)
    parsed()
    assert not report.exists()  # it would be of an earlier run


def test_sides_out_of_step_are_counted(tmp_path: Path, parsed: Parsed) -> None:
    with_images(tmp_path)
    copied = (tmp_path / "c.jpg").read_bytes()  # at (100, 0)
    (tmp_path / "queries_real/q.jpg").write_bytes(copied)  # at (0, 0)
    (tmp_path / "b.jpg").write_bytes(copied)
    moved = replace(SPECIFICATION, database_positions=np.array([[0.0, 0], [99, 0], [100, 0]]))
    assert parsed(moved).findings == Findings(0, 1, 1, 1)
    assert parsed().findings.out_of_step == 0  # b.jpg is 25 m away


def test_a_side_without_images_is_a_sentence(parsed: Parsed) -> None:
    empty = replace(SPECIFICATION, query_names=[], query_positions=np.zeros((0, 2)))
    with pytest.raises(UserError, match="the specification of city names no query image"):
        parsed(empty)


def test_sides_in_different_coordinates_are_a_sentence(parsed: Parsed) -> None:
    apart = replace(SPECIFICATION, query_positions=SPECIFICATION.query_positions + 1e6)
    with pytest.raises(UserError, match="no query of city has a database image within 25 m: check"):
        parsed(apart)


def test_degrees_are_refused_before_any_image_is_looked_for(parsed: Parsed) -> None:
    both = {
        "database_positions": np.array([[52.5, 13.3], [52.51, 13.31], [52.52, 13.3]]),
        "query_positions": np.array([[52.5, 13.3], [52.51, 13.31], [52.52, 13.3]]),
    }
    with pytest.raises(UserError, match="these seem to be degrees"):
        parsed(replace(SPECIFICATION, **both))


LISTED = replace(
    SPECIFICATION,
    database_positions=np.full((3, 2), np.nan),
    query_positions=np.full((3, 2), np.nan),
    listed=Lists(
        right=[np.array([0, 2]), np.zeros(0, np.int64), np.array([1])],
        doubtful=[np.array([1]), np.zeros(0, np.int64), np.zeros(0, np.int64)],
    ),
)


def test_a_set_whose_truth_is_a_list_is_parsed_and_summed_up(
    tmp_path: Path, parsed: Parsed
) -> None:
    with_images(tmp_path)
    assert parsed(LISTED).findings == Findings(0, 0, 0, 0)
    found = summarise(LISTED)
    assert found.mean_positives == found.mean_training_positives == 1.0
    assert found.queries_without_positive == found.queries_without_training_positive == 1
    assert found.query_locations_1m is found.training_radius_m is None
    assert truth_of(LISTED).counts().tolist() == [2, 0, 1]
    assert listed_of(LISTED).doubtful.of(0).tolist() == [1]
    assert listed_of(SPECIFICATION) is None


def test_more_than_half_without_a_positive_is_said_loudly() -> None:
    far = SPECIFICATION.query_positions + np.array([[0.0, 0], [0, 0], [900, 0]])
    assert summarise(replace(SPECIFICATION, query_positions=far)).warning() == ""
    far = far + np.array([[0.0, 0], [900, 0], [900, 0]])
    found = summarise(replace(SPECIFICATION, query_positions=far)).warning()
    assert found.startswith("; WARNING: more than half of the queries have no positive")


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


def test_a_subfolder_that_is_missing_is_not_taken_for_a_set_that_is_not_linked(
    tmp_path: Path, parsed: Parsed
) -> None:
    with pytest.raises(UserError, match=r"; link the folder that holds them as [^ ]*/no\.$"):
        report = tmp_path / "report.txt"
        build_indices("city", SPECIFICATION, tmp_path / "no", None, LAYOUT, report, 1)
    with_images(tmp_path)
    shutil.rmtree(tmp_path / "queries_real")
    with pytest.raises(UserError, match=r" is there: complete the folder queries_real in it, or"):
        parsed()
