"""Reads a folder of images with positions in their names: `@easting@northing@zone@…@.jpg`."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vprlib.formats.checks import images_below
from vprlib.formats.listing import times
from vprlib.formats.specification import Layout, Specification
from vprlib.pipeline.params import UserError
from vprlib.places.projection import on_one_plane

FIELDS = (
    *("utm_easting", "utm_northing", "zone", "letter", "lat", "lon", "pano", "tile"),
    *("heading", "pitch", "roll", "height", "timestamp", "note"),
)
SIDES = ("database", "queries")  # the folders


def read_utm_folder(path: Path, base: Path, layout: Layout) -> Specification:
    """Images in the folders database/ and queries/; their names start from `base`.

    Only easting and northing are required. Where zones differ, all images are projected onto one
    plane; otherwise eastings are as written, plus zone · 1,000,000 m where there is a zone.
    """
    images = {side: images_below(path / side) for side in SIDES}
    files = [image for side in SIDES for image in images[side]]
    fields = [_fields(image.name) for image in files]
    unknown = [image for image, found in zip(files, fields, strict=True) if not found]
    if unknown:
        raise UserError(
            f"{len(unknown)} of {len(files)} images below {path} have no position in their names,"
            f" such as '{unknown[0].relative_to(path)}': @easting@northing@zone@letter@…@.jpg is"
            " needed."
        )
    positions = _positions(fields, path)
    cut = len(images["database"])
    return Specification(
        which_set=path.name,
        database_names=[str(image.relative_to(base)) for image in files[:cut]],
        database_positions=positions[:cut],
        query_names=[str(image.relative_to(base)) for image in files[cut:]],
        query_positions=positions[cut:],
        positive_radius_m=layout.positive_radius_m,
        training_radius_m=layout.training_radius_m,
        database_extra=_extra(fields[:cut]),
        query_extra=_extra(fields[cut:]),
    )


def positions_of(names: Sequence[str], folder: Path) -> np.ndarray:
    """Metres [N, 2] by the names of images; NaN where a name has no position."""
    fields = [_fields(Path(name).name) for name in names]
    known = np.array([bool(found) for found in fields], bool)
    positions = np.full((len(names), 2), np.nan)
    if known.any():
        positions[known] = _positions([found for found in fields if found], folder)
    return positions


def _fields(name: str) -> dict[str, str]:
    """The values between the @; none where easting or northing is not a number."""
    parts = Path(name).stem.split("@")[1:]
    fields = dict(zip(FIELDS, (*parts, *[""] * len(FIELDS)), strict=False))
    are_numbers = _is_number(fields["utm_easting"]) and _is_number(fields["utm_northing"])
    return fields if are_numbers else {}


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False


def _positions(fields: Sequence[dict[str, str]], path: Path) -> np.ndarray:
    eastings, northings = (np.array([float(f[name]) for f in fields]) for name in FIELDS[:2])
    zones = {found["zone"] for found in fields}
    if zones <= {""}:
        return np.stack([eastings, northings], axis=1)
    for zone in sorted(zones):
        if not (zone.isdecimal() and 1 <= int(zone) <= 60):
            raise UserError(
                f"an image below {path} has the UTM zone '{zone}' in its name, but others have"
                f" {', '.join(sorted(zones - {zone})) or 'none'}: a zone is 1 to 60, on all"
                " images or none."
            )
    letters = {found["letter"].upper() for found in fields}
    if "" in letters and len(zones) + len(letters) > 2:  # one zone without letters is enough
        raise UserError(
            f"the names of the images below {path} have the zones {', '.join(sorted(zones))}, but"
            " not all have a letter, so the hemisphere is not known."
        )
    is_south = np.array([found["letter"].upper() in set("CDEFGHJKLM") for found in fields])
    return on_one_plane(eastings, northings, np.array([int(f["zone"]) for f in fields]), is_south)


def _extra(fields: Sequence[dict[str, str]]) -> dict[str, np.ndarray]:
    """Heading and time stamp, where every image of the side has them."""
    extra = {}
    if fields and all(_is_number(found["heading"]) for found in fields):
        extra["heading"] = np.array([float(found["heading"]) for found in fields])
    if fields and all(found["timestamp"] for found in fields):
        extra["time"] = times([found["timestamp"] for found in fields])
    return extra
