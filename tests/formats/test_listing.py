"""A data set in one CSV: metres or degrees, sides by role or folder, row numbers in sentences."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pyproj import Geod

from vprlib.formats.dialects import read_specification
from vprlib.formats.specification import Layout
from vprlib.pipeline.params import UserError

Written = Callable[..., Path]
METRES = [
    "path,easting,northing",
    "database/a b.jpg,585000.123456789,4477000.2",
    "queries/ü.jpg,1.5,-2.5",
    "database/c.jpg,3,4",
]


@pytest.fixture
def written(tmp_path: Path) -> Written:
    def make(*lines: str) -> Path:
        (tmp_path / "own.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return tmp_path / "own.csv"

    return make


def test_metres_read_back_as_they_were_written(written: Written) -> None:
    found = read_specification(written(*METRES))
    assert found.which_set == "own"
    assert found.database_names == ["database/a b.jpg", "database/c.jpg"]
    assert found.query_names == ["queries/ü.jpg"]
    assert found.database_positions.tolist() == [[585000.123456789, 4477000.2], [3, 4]]
    assert found.query_positions.tolist() == [[1.5, -2.5]]
    assert (found.positive_radius_m, found.training_radius_m) == (25, 10)
    assert found.database_extra == found.query_extra == {}


def test_radii_are_those_of_the_layout(written: Written) -> None:
    layout = Layout(positive_radius_m=5, training_radius_m=2)
    found = read_specification(written(*METRES), None, layout)
    assert (found.positive_radius_m, found.training_radius_m) == (5, 2)


def test_a_role_says_the_side_whatever_the_folder(written: Written) -> None:
    found = read_specification(
        written(
            "image,utm_east,utm_north,role",
            "x/a.jpg,1,2,query",
            "queries/b.jpg,3,4,database",
            "x/a.jpg,1,2,database",
        )
    )
    assert found.query_names == ["x/a.jpg"]
    assert found.database_names == ["queries/b.jpg", "x/a.jpg"]


@pytest.mark.parametrize("header", ["path,lat,lon", " Path , LATITUDE,Longitude"])
def test_degrees_become_metres(written: Written, header: str) -> None:
    found = read_specification(
        written(header, "database/a.jpg,52.50301,13.33001", "queries/q.jpg,52.5032,13.3302")
    )
    apart = np.linalg.norm(found.database_positions[0] - found.query_positions[0])
    true = Geod(ellps="WGS84").inv(13.33001, 52.50301, 13.3302, 52.5032)[2]
    assert apart == pytest.approx(true, rel=1e-3)
    assert found.database_positions[0, 0] // 1e6 == 33


def test_metres_are_taken_where_degrees_stand_beside_them(written: Written) -> None:
    found = read_specification(written("path,lat,lon,easting,northing", "queries/a.jpg,1,2,30,40"))
    assert found.query_positions.tolist() == [[30, 40]]


def test_heading_time_and_light_are_kept_by_side(written: Written) -> None:
    found = read_specification(
        written(
            "path,easting,northing,heading,timestamp,light,note",
            "database/a.jpg,1,2,359.5,2013.5,,x",
            "database/b.jpg,1,2,0,2014,,",
            "queries/q.jpg,1,2,,2015-06,night,",
        )
    )
    assert {k: v.tolist() for k, v in found.database_extra.items()} == {
        "heading": [359.5, 0],
        "time": [2013.5, 2014],
    }
    assert {k: v.tolist() for k, v in found.query_extra.items()} == {
        "light": ["night"],
        "time": ["2015-06"],
    }


def test_a_byte_order_mark_and_blank_lines_do_no_harm(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("\ufeff" + "\r\n\r\n".join(METRES))
    assert read_specification(tmp_path / "x.csv").query_names == ["queries/ü.jpg"]


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        (["path,east,north", "database/a.jpg,1,2"], "path, lat, lon, but has path, east, north"),
        (["easting,northing", "1,2"], "should have the columns path, .*but has easting, northing"),
        (["path,lat,easting", "database/a.jpg,1,2"], "should have the columns path"),
        ([""], "but has none"),
        ([*METRES, "database/d.jpg,here,4"], "row 5 has easting 'here', which is not a finite"),
        ([*METRES, "database/d.jpg,1,inf"], "row 5 has northing 'inf', which is not a finite"),
        ([*METRES, "database/d.jpg,1e308,4"], "row 5 has easting '1e308', which is .* within ±1e"),
        ([*METRES, "database/d.jpg,1,-1.1e8"], "row 5 has northing '-1.1e8', which is .* ±1e"),
        ([*METRES, f"database/{'d' * 200_000}.jpg,1,2"], "field larger than field limit"),
        (["path,easting,northing,time", f"queries/a.jpg,1,2,{'9' * 200_000}"], "larger than field"),
        ([*METRES, "database/d\x1b.jpg,1,2"], "holds a character that cannot be printed"),
        ([*METRES, "database/d\0.jpg,1,2"], "cannot be printed|line contains NUL"),
        ([*METRES, "database/d.jpg,1"], "row 5 has northing '', which is not a finite number"),
        ([*METRES, "database/d.jpg,1,2,3"], "row 5 has more values than there are columns"),
        ([*METRES, ",1,2"], "row 5 has no path"),
        ([*METRES, "database/c.jpg,5,6"], "row 5 lists 'database/c.jpg' again, after row 4"),
        ([*METRES, "other/c.jpg,5,6"], "row 5, 'other/c.jpg', is in neither database/ nor"),
        ([*METRES, "c.jpg,5,6"], "row 5, 'c.jpg', is in neither .* add a column 'role'"),
        ([*METRES, "database/../../x.jpg,5,6"], "leaves its folder"),
        (["path,lat,lon", "queries/a.jpg,84.1,0"], "row 2 has lat 84.1, .* from -84 to 84"),
        (["path,lat,lon", "queries/a.jpg,-95,0"], "row 2 has lat -95, but it should be degrees"),
        (["path,lat,lon", "queries/a.jpg,1,180.5"], "row 2 has lon 180.5, .* -180 to 180"),
        (["path,lat,lon", "queries/a.jpg,383697,5817547"], "metres go under easting and north"),
        (["path,easting,northing,role", "a.jpg,1,2,db"], "row 2 has the role 'db', but should"),
        (["path,easting,northing,role", "a.jpg,1,2,"], "row 2 has the role '', but should"),
        (["path,easting,northing,heading", "queries/a.jpg,1,2,N"], "row 2 has heading 'N'"),
        (
            ["path,easting,northing,light", "queries/a.jpg,1,2,day", "queries/b.jpg,1,2,"],
            "row 3 lacks the light that other query images have",
        ),
    ],
)
def test_what_does_not_fit_is_a_sentence_with_the_row(
    written: Written, lines: list[str], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence) as caught:
        read_specification(written(*lines))
    assert "own.csv" in str(caught.value)


def test_images_spread_too_wide_are_a_sentence_with_the_file(written: Written) -> None:
    rows = [f"database/{i}.jpg,0,{i / 20}" for i in range(200)]
    with pytest.raises(UserError, match=r"own\.csv: 200 images cover the longitudes"):
        read_specification(written("path,lat,lon", *rows))


def test_a_file_in_another_encoding_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes("path,lat,lon\nqueries/ü.jpg,1,2\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"x\.csv should be a CSV in UTF-8"):
        read_specification(tmp_path / "x.csv")
