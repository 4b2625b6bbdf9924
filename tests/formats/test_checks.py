"""Oddities of a set: counted, or refused where positions can only be degrees."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vprlib.formats.checks import Findings, find_images, images_below, look_over, refuse_degrees
from vprlib.formats.specification import Specification
from vprlib.images.index import ImageIndex
from vprlib.pipeline.params import UserError

MakeIndex = Callable[..., ImageIndex]


def with_digests(index: ImageIndex, *digests: int) -> ImageIndex:
    return replace(index, digests=np.array(digests))


def test_copies_by_hand(index_at: MakeIndex) -> None:
    database = with_digests(index_at([[0, 0], [9, 0], [500, 0], [900, 0]]), 5, 7, 5, 8)
    queries = with_digests(index_at([[20, 0], [30, 0], [99, 0], [0, 0]]), 5, 7, 8, 1)
    # the first query is also database image 0, 20 m away; the second 1, 21 m; the third 3, 801 m
    assert look_over(database, queries, 25.0, renamed=2) == Findings(2, 1, 3, 1)
    assert look_over(database, queries, 20.5, renamed=0).out_of_step == 2


def test_copies_equal_the_double_loop(index_at: MakeIndex) -> None:
    generator = np.random.default_rng(1)
    d, q = generator.integers(0, 40, 60).tolist(), generator.integers(0, 60, 50).tolist()
    at, asked = generator.uniform(0, 80, (60, 2)), generator.uniform(0, 80, (50, 2))
    database, queries = with_digests(index_at(at), *d), with_digests(index_at(asked), *q)
    twins = [[j for j in range(60) if d[j] == q[i]] for i in range(50)]
    far = [
        all(np.hypot(*(at[j] - asked[i])) > 25 for j in rows) and bool(rows)
        for i, rows in enumerate(twins)
    ]
    doubles = sum(d[j] in d[:j] for j in range(60))
    expected = Findings(0, doubles, sum(map(bool, twins)), sum(far))
    assert look_over(database, queries, 25.0, 0) == expected


def test_unknown_positions_are_not_out_of_step(index_at: MakeIndex) -> None:
    side = index_at(np.full((3, 2), np.nan))
    assert look_over(side, side, 25.0, 0) == Findings(0, 0, 3, 0)


def test_only_what_was_found_is_said() -> None:
    assert Findings(0, 0, 0, 0).sentence() == Findings(0, 0, 0, 0).warning() == ""
    found = Findings(4, 0, 3, 2)
    assert found.sentence() == ", 4 under another suffix on disk, 3 queries also in the database"
    assert "WARNING: 2 queries are byte for byte a database image with another" in found.warning()


def at(*positions: tuple[float, float], radius_m: float = 25.0) -> Specification:
    names = [str(row) for row in range(len(positions))]
    array = np.array(positions, dtype=np.float64)
    return Specification("x", names, array, names[:1], array[:1], radius_m, radius_m)


@pytest.mark.parametrize(
    "positions",
    [
        [(52.5, 13.3), (52.6, 13.5)],
        [(13.3, 52.5), (13.5, 52.6)],
        [(-33.9, 151.2), (-33.8, 151.3)],
        [(-122.4, 37.7), (-121.9, 37.4)],
        [(47.1, 6.0), (54.0, 15.0)],  # a whole country
    ],
)
def test_degrees_are_refused_with_the_form_that_takes_them(
    positions: list[tuple[float, float]],
) -> None:
    with pytest.raises(UserError, match=r"positions of own go from \(.*columns path, lat, lon"):
        refuse_degrees(at(*positions), "own")


@pytest.mark.parametrize(
    "specification",
    [
        at((585_000.1, 4_477_000.2), (585_001.1, 4_477_000.3)),  # UTM
        at((70, 0), (71, 0), (72, 0), radius_m=5.0),  # frame numbers
        at((0.5, 0.0), (19.5, 3.25)),  # a corridor, from its own corner
        at((-8.5, -3.0), (9.5, 4.5)),  # a room, from its middle
        at((52.5, 13.3), (52.6, 80.5)),  # wider than the radius
        at((95.5, 95.5), (96.5, 96.0)),  # no latitude is that large
    ],
)
def test_metres_and_frame_numbers_are_let_through(specification: Specification) -> None:
    refuse_degrees(specification, "own")


@pytest.mark.parametrize(
    ("asked", "there"),
    [
        ("a.jpg", "a.png"),
        ("a.png", "a.jpg"),
        ("x/b.c.jpg", "x/b.c.JPG"),
        ("a.JPG", "a.jpeg"),
        ("a.jpeg", "a.PNG"),
    ],
)
def test_a_file_under_another_suffix_is_the_one_that_is_meant(
    tmp_path: Path, asked: str, there: str
) -> None:
    (tmp_path / there).parent.mkdir(exist_ok=True)
    (tmp_path / there).touch()
    found = find_images([asked], tmp_path)
    assert (found.names, found.renamed, found.missing) == ([there], 1, [])


def test_the_very_name_comes_first(tmp_path: Path) -> None:
    for name in ("a.png", "a.jpg"):
        (tmp_path / name).touch()
    found = find_images(["a.png", "a.jpg"], tmp_path)
    assert (found.names, found.renamed) == (["a.png", "a.jpg"], 0)


def test_what_is_missing_keeps_its_name(tmp_path: Path) -> None:
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "a.txt").touch()
    (tmp_path / "b").touch()
    names = ["a.jpg", "folder.jpg", "b.jpg", "c.tif", "long" * 99 + ".jpg", ".jpg"]
    found = find_images(names, tmp_path)
    assert found.names == found.missing == names
    assert found.renamed == 0


def test_images_below_a_folder_are_found_through_links_and_sorted(tmp_path: Path) -> None:
    (tmp_path / "set/b").mkdir(parents=True)
    (tmp_path / "else").mkdir()
    for name in ("set/c.JPG", "set/b/a.png", "set/.hidden.jpg", "set/x.txt", "else/d.jpeg"):
        (tmp_path / name).touch()
    (tmp_path / "set/a").symlink_to(tmp_path / "else")
    found = [str(path.relative_to(tmp_path)) for path in images_below(tmp_path / "set")]
    assert found == ["set/a/d.jpeg", "set/b/a.png", "set/c.JPG"]
