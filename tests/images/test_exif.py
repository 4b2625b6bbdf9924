"""What a photograph tells of itself, and what of that cannot be true."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from photographs import HERE, NOON, drawn, exif, rational, write
from PIL import Image
from PIL.ExifTags import GPS

from vprlib.images.exif import Facts, read_facts

FOUR = (rational(1),) * 4  # degrees, minutes, seconds and what?


def facts(tmp_path: Path, suffix: str = ".jpg", **told: object) -> Facts:
    return read_facts(write(tmp_path / f"photo{suffix}", 1, exif(**told)))


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_place_direction_time_and_camera_are_read(tmp_path: Path, suffix: str) -> None:
    found = facts(tmp_path, suffix, degrees=HERE, time=NOON, heading=271.5, offset="+02:00")
    assert found.degrees == pytest.approx(HERE, abs=1e-8)
    assert found.heading == pytest.approx(271.5)
    assert found.clock == NOON and found.utc == NOON - 7200
    assert found.camera == "Toy One" and found.odd == ""


@pytest.mark.parametrize("here", [(-33.8688, 151.2093), (40.44, -79.99), (-54.8, -68.3)])
def test_south_and_west_are_negative(tmp_path: Path, here: tuple[float, float]) -> None:
    assert facts(tmp_path, degrees=here).degrees == pytest.approx(here, abs=1e-8)


def test_the_time_of_the_satellites_is_utc(tmp_path: Path) -> None:
    gps = {GPS.GPSDateStamp: "2024:05:17", GPS.GPSTimeStamp: tuple(map(rational, (9, 8, 7)))}
    found = facts(tmp_path, gps=gps)
    assert found.utc == found.clock == datetime(2024, 5, 17, 9, 8, 7, tzinfo=UTC).timestamp()
    both = facts(tmp_path, time=NOON, gps=gps)
    assert (both.clock, both.utc) == (NOON, found.utc)


def test_heic_is_read_with_its_library(tmp_path: Path) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.register_heif_opener()
    drawn(1).save(tmp_path / "photo.heic", exif=exif(degrees=HERE, time=NOON).tobytes())
    found = read_facts(tmp_path / "photo.heic")
    assert found.degrees == pytest.approx(HERE, abs=1e-8) and found.clock == NOON


@pytest.mark.parametrize(
    ("told", "odd"),
    [
        ({"degrees": (0.0, 0.0)}, r"is \(0, 0\), which a receiver without a fix writes"),
        ({"degrees": (91.0, 10.0)}, "is no position on earth"),
        ({"degrees": (10.0, 10.0), "gps": {GPS.GPSLatitude: FOUR}}, "no position on earth"),
    ],
)
def test_a_position_that_cannot_be_true_is_told_and_not_used(
    tmp_path: Path, told: dict, odd: str
) -> None:
    found = facts(tmp_path, **told)
    assert found.degrees is None and re.search(odd, found.odd)


@pytest.mark.parametrize("year", [1970, 1980])
def test_a_clock_that_was_never_set_tells_nothing(tmp_path: Path, year: int) -> None:
    found = facts(tmp_path, time=datetime(year, 1, 1, tzinfo=UTC).timestamp())
    assert found.clock is None and found.utc is None


def test_nothing_is_told_by_a_picture_without_exif(tmp_path: Path) -> None:
    assert read_facts(write(tmp_path / "x.jpg", 1)) == Facts()


def test_damaged_exif_is_odd_and_no_error(tmp_path: Path) -> None:
    drawn(1).save(tmp_path / "x.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f" + b"\xff" * 40)
    found = read_facts(tmp_path / "x.jpg")
    assert found.degrees is None


def test_what_is_no_image_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_text("no image")
    with pytest.raises(ValueError, match="is not an image that can be read"):
        read_facts(tmp_path / "x.jpg")


def test_a_name_of_a_camera_is_one_printable_line(tmp_path: Path) -> None:
    tags = Image.Exif()
    tags[0x0110] = "A\nB\tC\x1b[31m" + "x" * 200
    write(tmp_path / "x.jpg", 1, tags)
    found = read_facts(tmp_path / "x.jpg").camera
    assert found.isprintable() and len(found) <= 100
