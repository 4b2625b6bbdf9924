"""What was found for a photograph, as text, rows, JSON and GeoJSON."""

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vprlib.cli.output import aligned
from vprlib.evaluate.confidence import Thresholds, similarity
from vprlib.images.index import ImageIndex
from vprlib.pipeline.params import JsonObject
from vprlib.places.estimates import Estimate, estimate
from vprlib.places.geo import locations
from vprlib.places.projection import ZONE_M

HEADER = (
    *("photograph", "rank", "database", "distance", "score", "easting", "northing"),
    *("latitude", "longitude", "place"),  # results of one place have one letter
    "inliers",  # of a second look
    *("confidence", "sure"),  # of the first result; per cent, no, or empty where not calibrated
)
LETTERS = string.ascii_uppercase
_DIGITS = 6  # of degrees: a tenth of a metre


@dataclass(frozen=True)
class Answer:
    """The images found for one photograph, nearest first, and what they say together."""

    photograph: str
    names: list[str]
    distances: np.ndarray  # [K]
    positions: np.ndarray  # [K, 2] metres, NaN where unknown
    degrees: np.ndarray | None  # [K, 2] longitude and latitude
    places: list[str]  # a letter for each result
    estimate: Estimate | None
    inliers: np.ndarray | None = None  # [K] of a second look; -1: not looked at
    score: float | None = None  # of confidence; None where not calibrated
    sure: str = ""  # the precision that the score reaches in per cent, or no
    verdict: str = ""

    def counted(self, rank: int) -> str:
        """The inliers of a result, if it was looked at again."""
        looked = self.inliers is not None and self.inliers[rank] >= 0
        return str(self.inliers[rank]) if looked and self.inliers is not None else ""

    @property
    def similar(self) -> np.ndarray:
        return similarity(self.distances)


def answer(
    photograph: str,
    database: ImageIndex,
    degrees: np.ndarray | None,
    found: Sequence[tuple[int, float]],
    distinct_m: float,
    thresholds: Thresholds | None,
    score: float,
    inliers: np.ndarray | None = None,
) -> Answer:
    """From row and distance of each result; `score` is that of the confidence."""
    rows = np.array([row for row, _ in found], np.int64)
    distances = np.array([distance for _, distance in found], np.float32)
    positions = database.positions[rows]
    own = None if degrees is None else degrees[rows]
    labels = locations(positions, distinct_m).tolist()
    given: dict[str, object] = {}
    if thresholds is not None:
        given = {"score": score, "sure": thresholds.level(score) or "no"}
        given["verdict"] = thresholds.verdict(score)
    return Answer(
        photograph,
        [database.names[row] for row in rows],
        distances,
        positions,
        own,
        [letters(label) for label in labels],
        estimate(positions, own, similarity(distances), distinct_m),
        inliers,
        **given,  # type: ignore[arg-type]
    )


def letters(number: int) -> str:
    """A … Z, AA, AB …"""
    more, last = divmod(number, len(LETTERS))
    return (letters(more - 1) if more else "") + LETTERS[last]


def as_rows(answers: Sequence[Answer]) -> list[tuple[object, ...]]:
    """A row for each result; unknown positions are empty."""
    return [
        (
            a.photograph,
            rank + 1,
            name,
            f"{a.distances[rank]:.6f}",
            f"{a.similar[rank]:.6f}",
            *(_cell(value) for value in a.positions[rank]),
            *(_cell(value, _DIGITS) for value in _lat_lon(a.degrees, rank)),
            a.places[rank],
            a.counted(rank),
            "" if a.score is None else f"{a.score:.6f}",
            a.sure,
        )
        for a in answers
        for rank, name in enumerate(a.names)
    ]


def as_text(a: Answer) -> str:
    """A table of the results, and the estimate with a link to a map."""
    in_degrees = a.degrees is not None and np.isfinite(a.degrees).any()
    head = ("latitude", "longitude") if in_degrees else ("easting", "northing")
    extra = [] if a.inliers is None else ["inliers"]
    rows = [["rank", "distance", "score", *extra, *head, "place", "image"]]
    for rank, name in enumerate(a.names):
        values = _lat_lon(a.degrees, rank) if in_degrees else a.positions[rank]
        where = ("-" if np.isnan(v) else f"{v:.{_DIGITS if in_degrees else 2}f}" for v in values)
        scores = f"{a.distances[rank]:.4f}", f"{a.similar[rank]:.3f}"
        looked = [a.counted(rank) or "-"] if extra else []
        rows.append([str(rank + 1), *scores, *looked, *where, a.places[rank], name])
    words = (5 + len(extra), 6 + len(extra))
    return "\n".join([aligned(rows, left=words), *_where(a)])


def _where(a: Answer) -> list[str]:
    e = a.estimate
    if e is None:
        return []
    agree = f"± {e.spread_m:.0f} m, {e.agree} of {e.results} results agree"
    if e.agree == 1:
        agree = f"1 of {e.results} results, no other agrees"
    if e.degrees is None or np.isnan(e.degrees).any():
        return [f"here: {e.metres[0]:.1f}, {e.metres[1]:.1f} metres ({agree})"]
    lon, lat = e.degrees
    return [
        f"here: {lat:.6f}, {lon:.6f} ({agree}); {in_zone(e.metres)}",
        f"map: {map_link(lat, lon)}",
    ]


def in_zone(metres: np.ndarray) -> str:
    """Easting and northing with their UTM zone, where the easting begins with it."""
    zone, easting = divmod(float(metres[0]), ZONE_M)
    if not 1 <= zone <= 60:
        return f"{metres[0]:.1f}, {metres[1]:.1f} metres"
    return f"zone {zone:.0f}, {easting:.1f} east, {metres[1]:.1f} north"


def map_link(lat: float, lon: float) -> str:
    place = f"{lat:.6f}", f"{lon:.6f}"
    return "https://www.openstreetmap.org/?mlat={0}&mlon={1}#map=19/{0}/{1}".format(*place)


def as_object(a: Answer) -> JsonObject:
    """For JSON: numbers are numbers, and what is unknown is null."""
    results = [
        {
            "rank": rank + 1,
            "database": name,
            "distance": _number(a.distances[rank], 6),
            "score": _number(a.similar[rank], 6),
            **_position(a.positions[rank], None if a.degrees is None else a.degrees[rank]),
            "place": a.places[rank],
            **({} if a.inliers is None else {"inliers": int(a.inliers[rank])}),
        }
        for rank, name in enumerate(a.names)
    ]
    return {
        "photograph": a.photograph,
        "estimate": _estimate(a.estimate),
        "confidence": _number(a.score, 6),
        "sure": a.sure or None,
        "results": results,
    }


def as_geojson(answers: Sequence[Answer]) -> JsonObject:
    """A point for the estimate of each photograph, and one for each image found."""
    features = []
    for a in answers:
        told = _estimate(a.estimate)
        here = None if a.estimate is None else a.estimate.degrees
        labels = {"photograph": a.photograph, "kind": "estimate", "sure": a.sure or None}
        extra = {k: told[k] for k in ("spread_m", "agree", "results")} if told else {}
        features.append(_feature(here, {**labels, **extra}))
        for rank, name in enumerate(a.names):
            at = None if a.degrees is None else a.degrees[rank]
            about = {"photograph": a.photograph, "kind": "result", "rank": rank + 1}
            score = _number(a.similar[rank], 6)
            features.append(_feature(at, {**about, "database": name, "score": score}))
    return {"type": "FeatureCollection", "features": features}


def _feature(degrees: np.ndarray | None, properties: Mapping[str, object]) -> JsonObject:
    known = degrees is not None and np.isfinite(degrees).all()
    place = [round(float(v), 7) for v in degrees] if degrees is not None and known else None
    geometry = {"type": "Point", "coordinates": place} if place else None
    return {"type": "Feature", "geometry": geometry, "properties": dict(properties)}


def _estimate(e: Estimate | None) -> JsonObject | None:
    if e is None:
        return None
    found = _position(e.metres, e.degrees)
    lat, lon = found["latitude"], found["longitude"]
    link = None if lat is None else map_link(lat, lon)
    return {
        **found,
        "spread_m": round(e.spread_m, 3),
        "agree": e.agree,
        "results": e.results,
        "map": link,
    }


def _position(metres: np.ndarray, degrees: np.ndarray | None) -> JsonObject:
    lon, lat = (np.nan, np.nan) if degrees is None else degrees
    return {
        "latitude": _number(lat, 7),
        "longitude": _number(lon, 7),
        "easting": _number(metres[0], 3),
        "northing": _number(metres[1], 3),
    }


def _lat_lon(degrees: np.ndarray | None, rank: int) -> tuple[float, float]:
    return (np.nan, np.nan) if degrees is None else (degrees[rank][1], degrees[rank][0])


def _number(value: float | None, digits: int) -> float | None:
    return None if value is None or not np.isfinite(value) else round(float(value), digits)


def _cell(value: float, digits: int | None = None) -> object:
    if np.isnan(value):
        return ""
    return float(value) if digits is None else round(float(value), digits)
