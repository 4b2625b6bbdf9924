"""Positions in file names, below `database/` and `queries/`."""

from pathlib import Path

import numpy as np
import pytest
from pyproj import Proj

from vprlib.formats.dialects import read_specification
from vprlib.formats.specification import Layout
from vprlib.pipeline.params import UserError

TAKEN = "@0584000.28@4476947.31@17@T@040.44023@-080.00963@pano@03@90.5@@@@201303@@.jpg"


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def name(easting: float, northing: float, zone: object = 17, letter: str = "T", **more: str) -> str:
    """As Berton's datasets are written."""
    fields = [f"{easting:010.2f}", f"{northing:.2f}", str(zone), letter, "", "", "", ""]
    fields += [more.get("heading", ""), "", "", "", more.get("timestamp", ""), ""]
    return f"@{'@'.join(fields)}@.jpg"


def test_a_name_by_hand(tmp_path: Path) -> None:
    root = touch(tmp_path, f"images/test/database/{TAKEN}", f"images/test/queries/{TAKEN}")
    found = read_specification(root / "images/test", root)
    assert found.database_names == [f"images/test/database/{TAKEN}"]
    assert found.query_names == [f"images/test/queries/{TAKEN}"]
    assert found.database_positions.tolist() == [[17_584_000.28, 4_476_947.31]]
    assert found.database_extra["heading"].tolist() == [90.5]
    assert found.database_extra["time"].tolist() == [201303]
    assert (found.positive_radius_m, found.training_radius_m) == (25, 10)


def test_names_read_back_as_they_were_written_from_nested_folders(tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    at = generator.uniform(500_000, 600_000, (6, 2)).round(2)
    files = [f"database/{i % 2}/x/{name(*p, heading=str(i))}" for i, p in enumerate(at[:4])]
    files += [f"queries/{name(*p)}" for p in at[4:]]
    found = read_specification(touch(tmp_path, *files), tmp_path)
    positions = dict(zip(files, (at + np.array([17e6, 0])).tolist(), strict=True))
    assert found.database_names == sorted(files[:4]) and found.query_names == sorted(files[4:])
    for names, there in (
        (found.database_names, found.database_positions),
        (found.query_names, found.query_positions),
    ):
        assert [positions[n] for n in names] == there.tolist()
    assert found.database_extra["heading"].tolist() == [
        files.index(n) for n in found.database_names
    ]
    assert found.query_extra == {}


def test_easting_and_northing_alone_are_enough(tmp_path: Path) -> None:
    files = ("database/@1.5@2.5@.png", "queries/@-3@4.jpg", "queries/.hidden.jpg", "notes.txt")
    found = read_specification(touch(tmp_path, *files), tmp_path)
    assert found.database_positions.tolist() == [[1.5, 2.5]]
    assert found.query_positions.tolist() == [[-3, 4]]


def test_a_heading_that_one_image_lacks_is_left_out(tmp_path: Path) -> None:
    files = [f"database/{name(1, 2, heading='5')}", f"database/{name(3, 4)}"]
    found = read_specification(touch(tmp_path, *files, f"queries/{name(5, 6)}"), tmp_path)
    assert found.database_extra == {}


def test_images_across_a_zones_border_are_near_each_other(tmp_path: Path) -> None:
    west, east = (
        name(*Proj(proj="utm", zone=zone, ellps="WGS84")(lon, 48.0), zone=zone, letter="U")
        for zone, lon in ((32, 11.9999), (33, 12.0001))
    )
    found = read_specification(touch(tmp_path, f"database/{west}", f"queries/{east}"), tmp_path)
    apart = np.linalg.norm(found.database_positions - found.query_positions)
    assert apart == pytest.approx(14.92, abs=0.03)


def test_images_across_the_equator_are_near_each_other(tmp_path: Path) -> None:
    south, north = name(5e5, 9_999_995.0, 37, "M"), name(5e5, 6.0, 37, "n")
    found = read_specification(touch(tmp_path, f"database/{south}", f"queries/{north}"), tmp_path)
    assert (found.query_positions - found.database_positions).tolist() == [[0, 11]]


def test_names_start_from_the_layouts_folder(tmp_path: Path) -> None:
    root = touch(tmp_path, f"images/database/{TAKEN}", f"images/queries/{TAKEN}")
    layout = Layout(database_dir="images", queries_dir="images")
    found = read_specification(root / "images", root, layout)
    assert found.database_names == [f"database/{TAKEN}"]
    with pytest.raises(UserError, match=r"layout\.queries_dir should be 'images'"):
        read_specification(root / "images", root, Layout(database_dir="images"))
    with pytest.raises(UserError, match=r"should lie below .*other: correct layout.database_dir"):
        away = Layout(database_dir="other", queries_dir="other")
        read_specification(root / "images", root, away)


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        (["database/a.jpg", f"queries/{TAKEN}"], r"1 of 2 images .* such as 'database/a.jpg'"),
        (["database/@here@5@.jpg", f"queries/{TAKEN}"], "1 of 2 images .*have no position"),
        (["database/@nan@5@.jpg", f"queries/{TAKEN}"], "1 of 2 images .*have no position"),
        ([f"database/{name(1, 2, 61)}", f"queries/{TAKEN}"], "the UTM zone '61' in its name"),
        ([f"database/{name(1, 2, '')}", f"queries/{TAKEN}"], "the UTM zone '' .* others have 17"),
        (
            [f"database/{name(5e5, 2, 16, '')}", f"queries/{TAKEN}"],
            "zones 16, 17, but not all have a letter",
        ),
    ],
)
def test_what_does_not_fit_is_a_sentence(tmp_path: Path, files: list[str], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        read_specification(touch(tmp_path, *files), tmp_path)
