"""What a photograph tells of itself in its EXIF tags: where, which way, when, by which camera."""

import re
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

from PIL import Image

from vprlib.images.decode import opened, regular_file

_DETAILS, _GPS = 0x8769, 0x8825  # parts of EXIF with tags of their own
_MAKE, _MODEL, _SERIAL = 0x010F, 0x0110, 0xA431
_TAKEN, _OFFSET = 0x9003, 0x9011  # of the camera's clock
_LAT_REF, _LAT, _LON_REF, _LON, _GPS_TIME, _BEARING_REF, _BEARING, _GPS_DATE = (
    *(1, 2, 3, 4, 7, 16, 17, 29),
)
_OLDEST = datetime(1990, 1, 1, tzinfo=UTC)  # clocks that were never set say 1970 or 1980
_NUMBERS = re.compile(r"\d+")


@dataclass(frozen=True)
class Facts:
    """None for what the file does not tell; `odd` says what it tells, but cannot be true."""

    degrees: tuple[float, float] | None = None  # latitude and longitude
    heading: float | None = None  # clockwise from north
    clock: float | None = None  # seconds since 1970 as the camera's clock showed
    utc: float | None = None  # the same in UTC, where the file tells the clock's zone
    camera: str = ""
    odd: str = ""


def read_facts(path: Path) -> Facts:
    """From the header of an image file; raises ValueError or OSError for what is none."""
    with regular_file(path) as file, opened(file) as image:
        try:
            with warnings.catch_warnings(action="ignore"):
                whole = image.getexif()
                details, gps = whole.get_ifd(_DETAILS), whole.get_ifd(_GPS)
        except Exception:  # damaged tags: Pillow raises whatever it stumbles over
            return Facts(odd="its EXIF is damaged")
    degrees, odd = _degrees(gps)
    clock, utc = _times(details, gps)
    return Facts(degrees, _heading(gps), clock, utc, _camera(whole, details), odd)


def _degrees(gps: Mapping[int, object]) -> tuple[tuple[float, float] | None, str]:
    """Latitude and longitude, or what is wrong with them."""
    if _LAT not in gps or _LON not in gps:
        return None, ""
    lat = _angle(gps[_LAT], gps.get(_LAT_REF), "S")
    lon = _angle(gps[_LON], gps.get(_LON_REF), "W")
    if lat is None or lon is None or abs(lat) > 90 or abs(lon) > 180:
        return None, "its GPS position is no position on earth"
    if abs(lat) < 1e-6 and abs(lon) < 1e-6:
        return None, "its GPS position is (0, 0), which a receiver without a fix writes"
    return (lat, lon), ""


def _angle(value: object, reference: object, negative: str) -> float | None:
    """From degrees, minutes and seconds."""
    parts = value if isinstance(value, tuple | list) else (value,)
    numbers = [_number(part) for part in parts]
    if not 1 <= len(numbers) <= 3 or None in numbers:
        return None
    total = sum((n or 0.0) / 60**place for place, n in enumerate(numbers))
    return -total if str(reference).strip("\0 ").upper() == negative else total


def _heading(gps: Mapping[int, object]) -> float | None:
    found = _number(gps.get(_BEARING))
    return None if found is None or not 0 <= found <= 360 else found % 360


def _times(
    details: Mapping[int, object], gps: Mapping[int, object]
) -> tuple[float | None, float | None]:
    """When it was taken, by the camera's clock and in UTC."""
    clock, utc = _moment(str(details.get(_TAKEN, ""))), None
    found = re.fullmatch(r"([+-])(\d\d):(\d\d)", str(details.get(_OFFSET, "")).strip("\0 "))
    if clock is not None and found is not None:
        ahead = timedelta(hours=int(found[2]), minutes=int(found[3]))
        with suppress(ValueError):
            zone = timezone(ahead if found[1] == "+" else -ahead)
            utc = clock.replace(tzinfo=zone)
    time = gps.get(_GPS_TIME)
    if utc is None and isinstance(time, tuple | list):
        parts = [_number(part) for part in time]
        numbers = [f"{int(part):02}" for part in parts if part is not None]
        utc = _moment(f"{gps.get(_GPS_DATE, '')} {':'.join(numbers)}")
    shown = clock or utc
    return shown.timestamp() if shown else None, utc.timestamp() if utc else None


def _moment(text: str) -> datetime | None:
    """From 'year:month:day hours:minutes:seconds'; None for a clock that was never set."""
    numbers = [int(number) for number in _NUMBERS.findall(text)[:6]]
    if len(numbers) < 6:
        return None
    with suppress(ValueError):
        year, month, day, hour, minute, second = numbers
        found = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
        return found if found >= _OLDEST else None
    return None


def _camera(whole: Image.Exif, details: Mapping[int, object]) -> str:
    parts = (whole.get(_MAKE, ""), whole.get(_MODEL, ""), details.get(_SERIAL, ""))
    words = " ".join(str(part).strip("\0 ") for part in parts)
    return " ".join("".join(c for c in words if c.isprintable()).split())[:100]


def _number(value: object) -> float | None:
    """A finite number; EXIF's fractions may divide by zero."""
    try:
        found = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return found if abs(found) < 1e12 else None
