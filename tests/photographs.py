"""Photographs with EXIF, as cameras write them, and GPX tracks."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from PIL import Image, TiffImagePlugin
from PIL.ExifTags import GPS, IFD, Base

NOON = datetime(2024, 5, 17, 12, tzinfo=UTC).timestamp()
HERE = (52.50301, 13.33001)  # a street in Berlin
METRE = 1 / 111_200  # of latitude, in degrees


def rational(value: float) -> TiffImagePlugin.IFDRational:
    return TiffImagePlugin.IFDRational(round(value * 10**6), 10**6)


def angle(value: float) -> tuple[TiffImagePlugin.IFDRational, ...]:
    """Degrees, minutes and seconds."""
    degrees, rest = divmod(abs(value), 1)
    minutes, seconds = divmod(rest * 60, 1)
    return rational(degrees), rational(minutes), rational(seconds * 60)


def exif(
    degrees: tuple[float, float] | None = None,
    time: float | None = None,
    heading: float | None = None,
    camera: str = "Toy One",
    offset: str = "",
    gps: dict | None = None,
) -> Image.Exif:
    tags = Image.Exif()
    tags[Base.Make], tags[Base.Model] = camera.split(" ", 1)
    if time is not None:
        shown = datetime.fromtimestamp(time, UTC).strftime("%Y:%m:%d %H:%M:%S")
        tags.get_ifd(IFD.Exif)[Base.DateTimeOriginal] = shown
    if offset:
        tags.get_ifd(IFD.Exif)[Base.OffsetTimeOriginal] = offset
    found = tags.get_ifd(IFD.GPSInfo)
    if degrees is not None:
        lat, lon = degrees
        found[GPS.GPSLatitudeRef], found[GPS.GPSLatitude] = "NS"[int(lat < 0)], angle(lat)
        found[GPS.GPSLongitudeRef], found[GPS.GPSLongitude] = "EW"[int(lon < 0)], angle(lon)
    if heading is not None:
        found[GPS.GPSImgDirectionRef], found[GPS.GPSImgDirection] = "T", rational(heading)
    found.update(gps or {})
    return tags


def drawn(seed: int, width: int = 96, height: int = 72) -> Image.Image:
    """A picture of coloured blocks."""
    draw = np.random.default_rng(seed)
    small = draw.integers(0, 256, (height // 12, width // 12, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.NEAREST)


def write(path: Path, seed: int, tags: Image.Exif | None = None, image=None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = image or drawn(seed)
    picture.save(path, exif=tags or Image.Exif(), quality=90)
    return path


def walk(folder: Path, count: int, start: float, seed: int = 0, step_m: float = 40.0) -> list[Path]:
    """Photographs along a street to the north, one every ten seconds."""
    lat, lon = HERE
    return [
        write(
            folder / f"{n:04}.jpg",
            seed + n,
            exif((lat + n * step_m * METRE, lon), start + 10 * n, heading=0.0),
        )
        for n in range(count)
    ]


def gpx(path: Path, points: list[tuple[float, float, float]]) -> Path:
    """A track of times, latitudes and longitudes."""
    text = "".join(
        f'<trkpt lat="{lat}" lon="{lon}"><time>'
        f"{datetime.fromtimestamp(time, UTC).strftime('%Y-%m-%dT%H:%M:%SZ')}</time></trkpt>"
        for time, lat, lon in points
    )
    head = '<?xml version="1.0"?><gpx xmlns="http://www.topografix.com/GPX/1/1"><trk><trkseg>'
    path.write_text(f"{head}{text}</trkseg></trk></gpx>")
    return path
