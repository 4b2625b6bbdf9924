"""A folder of photographs as a set: positions found by looking, sessions, what is left out."""

import csv
import sys
from pathlib import Path

import numpy as np
import pytest
from photographs import HERE, METRE, NOON, drawn, exif, gpx, walk, write

from vprlib.formats.dialects import read_specification
from vprlib.formats.parse import build_indices, summarise
from vprlib.formats.photos import PhotoList, PhotoSettings, list_photographs
from vprlib.formats.specification import Layout
from vprlib.pipeline.artifacts import write_csv
from vprlib.pipeline.params import UserError

DAY = 86400.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    return tmp_path / "photos"


def listed(folder: Path, **settings: object) -> PhotoList:
    words = folder / "words.csv"
    return list_photographs(folder, PhotoSettings.model_validate(settings), 25.0, 2, words)


def table(found: PhotoList) -> list[dict[str, object]]:
    return [dict(zip(found.header, row, strict=True)) for row in found.rows]


def test_two_walks_are_sessions_and_each_is_asked_of_the_other(folder: Path) -> None:
    walk(folder / "a", 4, NOON)
    walk(folder / "b", 3, NOON + DAY, seed=50)
    found = listed(folder, self_test=6)
    rows = table(found)
    assert [row["role"] for row in rows] == ["database"] * 7 + ["query"] * 6  # three of each
    assert {row["session"] for row in rows} == {"2024-05-17T12:00:00", "2024-05-18T12:00:00"}
    assert rows[1]["path"] == "a/0001.jpg"
    assert rows[1]["lat"] == pytest.approx(HERE[0] + 40 * METRE, abs=1e-7)
    assert rows[1]["heading"] == 0 and rows[1]["timestamp"] == NOON + 10
    assert found.left_out == [] and "7 photographs; 7 with a position (from EXIF)" in found.sentence
    assert "2 sessions by time" in found.sentence
    assert found.sentence.endswith("photographs are asked of the other sessions")


def test_the_list_is_a_set_whose_queries_do_not_see_their_own_session(folder: Path) -> None:
    walk(folder / "a", 4, NOON)
    walk(folder / "b", 3, NOON + DAY, seed=50)
    found = listed(folder, self_test=100)
    path = folder / "list.csv"
    write_csv(path, found.header, found.rows)
    specification = read_specification(path, folder)
    summary = summarise(specification)
    assert (summary.database, summary.queries, summary.queries_without_positive) == (7, 7, 1)
    assert summary.mean_positives == pytest.approx(6 / 7)  # the fourth of a walk is alone
    assert summary.chance_recall_1 == pytest.approx((3 * 1 / 3 + 3 * 1 / 4) / 7)
    parsed = build_indices(
        "photos", specification, folder, None, Layout(), folder.parent / "report", 1, "leave_out"
    )
    assert parsed.findings.queries_in_database == 0  # a photograph is not its own copy
    lon, lat = parsed.database.extra["degrees"][2]
    assert (lat, lon) == pytest.approx((HERE[0] + 80 * METRE, HERE[1]), abs=1e-7)


def test_one_session_tells_nothing_and_says_why(folder: Path) -> None:
    walk(folder / "a", 4, NOON)
    found = listed(folder)
    assert [row["role"] for row in table(found)] == ["database"] * 4
    assert "with one session nothing can be known" in found.sentence
    assert "would flatter" in found.sentence


def test_sessions_of_other_streets_tell_nothing_either(folder: Path) -> None:
    walk(folder / "a", 3, NOON)
    for n, path in enumerate(walk(folder / "b", 3, NOON + DAY)):
        write(path, n, exif((48.0, 11.0 + n), NOON + DAY))
    found = listed(folder)
    assert len(found.rows) == 6
    assert "no two sessions show the same place" in found.sentence
    assert "WARNING: they lie" not in found.sentence


def test_two_plain_folders_work_without_any_position(folder: Path) -> None:
    for n in range(3):
        write(folder / f"db/{n}.jpg", n)
        write(folder / f"queries/{n}.jpg", n)
    found = listed(folder)
    assert [row["path"] for row in table(found)] == ["db/0.jpg", "db/1.jpg", "db/2.jpg"]
    assert "none has a position, so that answers are photographs" in found.sentence
    write_csv(folder / "list.csv", found.header, found.rows)
    specification = read_specification(folder / "list.csv", folder)
    assert np.isnan(specification.database_positions).all()
    assert summarise(specification).database_positions == 0


def test_what_has_no_position_is_counted_and_listed_and_left_out(folder: Path) -> None:
    walk(folder / "a", 2, NOON)
    write(folder / "a/none.jpg", 8, exif(time=NOON + 20))
    write(folder / "a/zero.jpg", 9, exif((0.0, 0.0), NOON + 30))
    found = listed(folder)
    assert len(found.rows) == 2
    assert found.left_out == [
        "a/none.jpg: its EXIF has no GPS position",
        "a/zero.jpg: its GPS position is (0, 0), which a receiver without a fix writes",
    ]
    assert "2 without a position are left out" in found.sentence
    assert found.numbers["without_a_position"] == 2


def test_positions_over_continents_are_a_warning(folder: Path) -> None:
    walk(folder / "a", 2, NOON)
    write(folder / "a/far.jpg", 9, exif((-33.9, 151.2), NOON))
    assert "WARNING: they lie 16" in listed(folder).sentence


def test_a_folder_with_ten_unreadable_files_goes_on_without_them(folder: Path) -> None:
    walk(folder / "a", 3, NOON)
    for n in range(10):
        (folder / f"a/bad{n}.jpg").write_bytes(b"no image")
    found = listed(folder)
    assert len(found.rows) == 3 and found.numbers["unreadable"] == 10
    assert found.left_out[0] == "a/bad0.jpg: is not an image that can be read"
    assert "10 cannot be read and are left out" in found.sentence


def test_heic_without_its_library_says_how_to_install_it(folder: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    walk(folder / "a", 1, NOON)
    (folder / "a/x.heic").write_bytes(b"\0\0\0\x18ftypheic" + b"\0" * 40)
    assert "`pip install pillow-heif` to read it" in listed(folder).left_out[0]


def test_odd_names_are_names_and_a_line_break_is_left_out(folder: Path) -> None:
    names = ["a b.jpg", "50% off.jpg", "emoji 😀.jpg", 'comma,quote".jpg']
    for n, name in enumerate(names):
        write(folder / "a" / name, n, exif(HERE, NOON))
    write(folder / "a/line\nbreak.jpg", 9, exif(HERE, NOON))
    found = listed(folder)
    write_csv(folder / "list.csv", found.header, found.rows)
    kept = read_specification(folder / "list.csv", folder).database_names
    assert sorted(kept) == sorted(f"a/{name}" for name in names)
    assert found.left_out == [
        "a/line\\nbreak.jpg: holds a character that cannot be printed: rename the file"
    ]


def test_a_track_beside_photographs_says_where_they_were(folder: Path) -> None:
    lat, lon = HERE
    for n in range(4):
        write(folder / f"a/{n}.jpg", n, exif(time=NOON + 7200 + 30 * n, offset="+02:00"))
    gpx(folder / "a/walk.gpx", [(NOON, lat, lon), (NOON + 60, lat + 0.001, lon)])
    found = listed(folder)
    assert found.numbers["positions_from"] == "a GPX track"
    assert [row["lat"] for row in table(found)] == pytest.approx([lat, lat + 0.0005, lat + 0.001])
    assert found.left_out == ["a/3.jpg: no track was recorded at its time"]


@pytest.mark.parametrize(
    ("offset", "settings", "said"),
    [
        ("", {}, r"no photograph tells its time in UTC: set clock_ahead_h"),
        ("+00:00", {}, r"from 2024-05-17T12:00:00 to 2024-05-17T12:01:00 UTC, .* correct clock_"),
    ],
)
def test_a_track_of_another_time_is_a_sentence(folder, offset, settings, said) -> None:
    write(folder / "a/0.jpg", 0, exif(time=NOON + 7200, offset=offset))
    gpx(folder / "a/walk.gpx", [(NOON, *HERE), (NOON + 60, *HERE)])
    with pytest.raises(UserError, match=said):
        listed(folder, **settings)
    assert len(listed(folder, clock_ahead_h=2).rows) == 1


def test_names_and_tables_tell_positions_too(folder: Path) -> None:
    for n in range(3):
        write(folder / f"a/@{585000 + 30 * n}@4477000@17@T@.jpg", n)
    found = listed(folder)
    assert found.numbers["positions_from"] == "names"
    assert [row["easting"] for row in table(found)] == [17585000, 17585030, 17585060]
    lines = ["path,lat,lon", *(f"@{585000 + 30 * n}@4477000@17@T@.jpg,{n},7" for n in range(2))]
    (folder / "a/where.csv").write_text("\n".join(lines))
    found = listed(folder)
    assert found.numbers["positions_from"] == "a CSV"
    assert [row["lat"] for row in table(found)] == [0, 1]
    assert found.left_out == ["a/@585060@4477000@17@T@.jpg: no row of the CSV is about it"]


def test_a_table_of_something_else_is_not_asked(folder: Path) -> None:
    walk(folder / "a", 2, NOON)
    (folder / "a/bills.csv").write_text("date,euros\nmonday,5\n")
    (folder / "a/binary.csv").write_bytes(b"\xff\xfe\x00")
    assert listed(folder).numbers["positions_from"] == "EXIF"


def test_a_few_that_can_be_answered_are_asked_where_a_draw_would_miss_them(folder: Path) -> None:
    walk(folder / "a", 40, NOON)
    for n, path in enumerate(walk(folder / "b", 40, NOON + DAY)):
        write(path, n, exif((48.0 + n / 100, 11.0), NOON + DAY + n))
    write(folder / "b/0039.jpg", 7, exif(HERE, NOON + DAY + 39))
    found = listed(folder, self_test=2)
    asked = {row["path"] for row in table(found) if row["role"] == "query"}
    assert asked == {"a/0000.jpg", "b/0039.jpg"}
    assert listed(folder, self_test=0).sentence.endswith("no self-test, as self_test is 0")


def test_photographs_in_queries_are_asked_and_their_own_sessions_are_told(folder: Path) -> None:
    walk(folder / "a", 4, NOON)
    walk(folder / "queries", 2, NOON + 30, seed=70)
    found = listed(folder)
    assert [row["role"] for row in table(found)] == ["database"] * 4 + ["query"] * 2
    assert "2 queries are of a session in the database, which is not shown" in found.sentence
    for path in walk(folder / "queries", 2, NOON + DAY, seed=70):
        assert path.exists()
    assert "of a session in the database" not in listed(folder).sentence


def test_a_car_that_stood_still_is_thinned_and_every_photograph_is_told_of(folder: Path) -> None:
    walk(folder / "a", 6, NOON, step_m=0.1)
    found = listed(folder, thin={"most": 2, "within_m": 3.0})
    assert len(found.rows) == 2 and found.numbers["thinned_out"] == 4
    assert found.left_out == [f"a/000{n}.jpg: thinned out" for n in range(2, 6)]


def test_an_empty_folder_and_a_folder_that_was_renamed_are_sentences(folder: Path) -> None:
    with pytest.raises(UserError, match=r"photos holds no photograph: `vpr use photos FOLDER`"):
        listed(folder)
    (folder / "streets").symlink_to(folder.parent / "gone")
    with pytest.raises(UserError, match=r"streets links to .*/gone, which is not there"):
        listed(folder)
    (folder / "streets").unlink()
    write(folder / "queries/x.jpg", 1, exif(HERE))
    with pytest.raises(UserError, match="holds no photograph that can be read, or only queries"):
        listed(folder)


def test_the_same_photographs_give_the_same_bytes_and_a_changed_one_other_ones(folder, tmp_path):
    walk(folder / "a", 3, NOON)
    for name in "xy":
        found = listed(folder)
        write_csv(tmp_path / name, found.header, found.rows)
    assert (tmp_path / "x").read_bytes() == (tmp_path / "y").read_bytes()
    drawn(99).save(folder / "a/0001.jpg", exif=exif(HERE, NOON, heading=0.0))
    found = listed(folder)
    write_csv(tmp_path / "z", found.header, found.rows)
    before, after = (list(csv.reader((tmp_path / n).open())) for n in "xz")
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, True, False, True]
