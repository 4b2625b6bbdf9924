"""The built-in city: plans which photographs are taken where, and takes them."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from pydantic import Field, model_validator

from vprlib import sensor
from vprlib.camera import View
from vprlib.light import LIGHTS, light
from vprlib.params import Section
from vprlib.picture import Sprite, picture
from vprlib.route import is_northward, place_position, spot_beside
from vprlib.scenery import passers
from vprlib.town import PITCH, Town

ORIGINS = {  # UTM metres; 100 km apart, so that no part ever reaches another
    "train": (350_000.0, 4_470_000.0),
    "val": (450_000.0, 4_470_000.0),
    "test": (550_000.0, 4_470_000.0),
}
FOLDER_FILES = 1000  # at most so many pictures in one folder
CAMERA_M = 1.6  # height of every camera, a query's a little lower or higher
_PLACE, _SPOT, _QUERY, _LIGHT, _PARKED, _WEATHER, _SENSOR, _PASSERS = range(10, 18)  # seeds


class QueryParams(Section):
    """How a query differs from the panorama that it is near."""

    per_location: int = Field(4, ge=1)  # photographs at one spot, headings all around
    offset_m: tuple[float, float] = (2.0, 6.0)  # from the panorama: over 1 m, at most 10 m
    heading_jitter_deg: float = Field(30.0, ge=0)  # around evenly spread headings
    fov_deg: tuple[float, float] = (62.0, 76.0)  # other lenses than the panorama's
    tilt_deg: tuple[float, float] = (0.0, 9.0)  # held by hand
    roll_deg: float = Field(2.5, ge=0, le=30)  # either way
    passers: float = Field(0.6, ge=0)  # mean number of people and cars in the way
    gain: float = Field(0.12, ge=0, lt=1)  # exposure and white balance, either way
    blur_px: float = Field(0.6, ge=0)  # widest Gaussian blur
    noise: float = Field(4.0, ge=0)  # grey levels by day; twice that by night

    @model_validator(mode="after")
    def _check(self) -> Self:
        low, high = self.offset_m
        if not 1.0 < low < high <= 10.0:
            raise ValueError(
                f"offset_m should be two distances over 1 and up to 10, but is {low} and {high}"
            )
        for name in ("fov_deg", "tilt_deg"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} should run upwards, but is {low} to {high}")
        if not 20 <= self.fov_deg[0] <= self.fov_deg[1] <= 110:
            raise ValueError(f"fov_deg should lie within 20 and 110, but is {self.fov_deg}")
        if not -30 <= self.tilt_deg[0] <= self.tilt_deg[1] <= 30:
            raise ValueError(f"tilt_deg should lie within -30 and 30, but is {self.tilt_deg}")
        return self


class CityParams(Section):
    """What all parts of the city share."""

    seed: int = Field(7, ge=0)  # another seed, another city
    width: int = Field(160, ge=16)  # pixels of every image
    height: int = Field(120, ge=16)
    quality: int = Field(90, ge=1, le=100)  # of the JPEG files
    headings: int = Field(8, ge=1, le=100)  # tiles of a panorama, all from one position
    spacing_m: float = Field(9.0, ge=2, le=PITCH)  # between panoramas along a street
    fov_deg: float = Field(70.0, ge=20, le=110)  # of a tile; over 360 / headings they overlap
    tilt_deg: float = Field(4.0, ge=-30, le=30)  # of a tile, upwards
    query: QueryParams = QueryParams()  # changes no database image


class LightWeights(Section):
    """How often a query is taken by each light; only the proportions count."""

    day: float = Field(ge=0)
    dusk: float = Field(ge=0)
    night: float = Field(ge=0)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.day + self.dusk + self.night > 0:
            raise ValueError("at least one of day, dusk and night should be above 0")
        return self


class PartParams(Section):
    """How large one part of the city is."""

    places: int = Field(ge=1)  # positions of panoramas
    queries: int = Field(ge=1)  # query images; a larger number keeps the first ones
    query_light: LightWeights  # database images are always taken by day


@dataclass(frozen=True, slots=True)
class Shot:
    """One photograph: where, which way, by which light."""

    name: str  # relative path
    easting: float
    northing: float
    heading_deg: float
    light: str
    fov_deg: float
    tilt_deg: float
    roll_deg: float
    height_m: float  # of the camera above the ground
    place: int  # which panorama, or which query
    tile: int  # which heading of the panorama; -1 for a query


@dataclass(frozen=True)
class Plan:
    """Every photograph of one part."""

    scene: CityParams
    part_name: str
    database: list[Shot]
    queries: list[Shot]


def plan(scene: CityParams, part: PartParams, part_name: str) -> Plan:
    """Decides on all photographs; draws none."""
    town = town_of(scene, part_name)
    positions = [place_position(town, k, scene.spacing_m, _PLACE) for k in range(part.places)]
    database = [
        _tile(scene, part_name, place, position, tile)
        for place, position in enumerate(positions)
        for tile in range(scene.headings)
    ]
    queries = [
        shot
        for location in range(-(-part.queries // scene.query.per_location))
        for shot in _location(scene, part, part_name, positions, location)
    ]
    return Plan(scene, part_name, database, queries[: part.queries])


def town_of(scene: CityParams, part_name: str) -> Town:
    """The streets of one part."""
    if part_name not in ORIGINS:
        raise ValueError(f"a part is one of {', '.join(ORIGINS)}, but this one is '{part_name}'")
    return Town(scene.seed, list(ORIGINS).index(part_name))


def _tile(scene: CityParams, part_name: str, place: int, position: np.ndarray, tile: int) -> Shot:
    number = place * scene.headings + tile
    name = f"{part_name}/{number // FOLDER_FILES:03d}/{part_name}_{place:06d}_h{tile:02d}.jpg"
    heading = 360.0 * tile / scene.headings
    lens = (scene.fov_deg, scene.tilt_deg, 0.0, CAMERA_M)
    return Shot(name, *_utm(part_name, position), heading, "day", *lens, place, tile)


def _location(
    scene: CityParams, part: PartParams, part_name: str, positions: list[np.ndarray], location: int
) -> list[Shot]:
    """The queries of one spot: one panorama after the other gets a spot beside it."""
    town, settings = town_of(scene, part_name), scene.query
    rng = town.generator(_SPOT, location)
    place = location % len(positions)
    northward = is_northward(place, int(PITCH // scene.spacing_m))
    spot = spot_beside(rng, positions[place], northward, settings.offset_m)
    first = rng.uniform(0, 360)
    turns = first + np.arange(settings.per_location) * 360 / settings.per_location
    numbers = location * settings.per_location + np.arange(settings.per_location)
    return [
        _query(scene, part, part_name, _utm(part_name, spot), int(number), float(turn))
        for number, turn in zip(numbers, turns, strict=True)
    ]


def _query(
    scene: CityParams,
    part: PartParams,
    part_name: str,
    utm: tuple[float, float],
    number: int,
    turn: float,
) -> Shot:
    town, settings = town_of(scene, part_name), scene.query
    rng = town.generator(_QUERY, number)
    jitter = settings.heading_jitter_deg
    heading = (turn + rng.uniform(-jitter, jitter)) % 360
    lens = [rng.uniform(*settings.fov_deg), rng.uniform(*settings.tilt_deg)]
    lens += [rng.uniform(-1, 1) * settings.roll_deg, CAMERA_M + rng.uniform(-0.1, 0.1)]
    name = f"{part_name}/{number // FOLDER_FILES:03d}/{part_name}_q{number:06d}.jpg"
    kind = _chosen(part.query_light, town.generator(_LIGHT, number).random())
    return Shot(name, *utm, heading, kind, *lens, number, -1)


def _chosen(weights: LightWeights, share: float) -> str:
    """The light at that share of the summed weights."""
    sums = np.cumsum([getattr(weights, kind) for kind in LIGHTS])
    return LIGHTS[int(np.searchsorted(sums, share * sums[-1], side="right"))]


def _utm(part_name: str, position: np.ndarray) -> tuple[float, float]:
    east, north = ORIGINS[part_name]
    return east + float(position[0]), north + float(position[1])


def draw(the_plan: Plan, shot: Shot) -> np.ndarray:
    """The photograph, [H, W, 3] uint8."""
    scene, is_query = the_plan.scene, shot.tile < 0
    town = town_of(scene, the_plan.part_name)
    view = _view(scene, the_plan.part_name, shot)
    weather = town.generator(_WEATHER, is_query, shot.place)
    parked = town.generator(_PARKED, is_query, *_parked_by(view, is_query, shot))
    now = light(shot.light, weather if is_query else town.generator(_LIGHT))
    in_the_way = _passers(scene, town, view, shot) if is_query else []
    raw = picture(town, view, now, (parked, weather), in_the_way)
    rng = town.generator(_SENSOR, is_query, shot.place, shot.tile + 1)
    if not is_query:
        return sensor.expose(sensor.develop(raw, np.ones(3), 1.0), 0.0, 1.5, rng)
    return _by_hand(scene.query, shot.light, raw, rng)


def encode(image: np.ndarray, shot: Shot, quality: int) -> bytes:
    """The bytes of the file that `shot` names."""
    assert shot.name.endswith(".jpg")
    return sensor.jpeg(image, quality)


def _view(scene: CityParams, part_name: str, shot: Shot) -> View:
    east, north = ORIGINS[part_name]
    position = (shot.easting - east, shot.northing - north, shot.height_m, shot.heading_deg)
    lens = (shot.fov_deg, shot.tilt_deg, shot.roll_deg)
    return View(*position, *lens, scene.width, scene.height)


def _parked_by(view: View, is_query: bool, shot: Shot) -> tuple[int, ...]:
    """Panoramas of a neighbourhood are taken on one drive, past the same parked cars."""
    return (shot.place,) if is_query else (round(view.x / PITCH), round(view.y / PITCH))


def _passers(scene: CityParams, town: Town, view: View, shot: Shot) -> list[Sprite]:
    """People and cars between the camera and the houses, farthest first."""
    rng = town.generator(_PASSERS, shot.place)
    kinds, (ahead, right) = passers(), view.axes
    found = []
    for _ in range(rng.poisson(scene.query.passers)):
        pixels, width_m, height_m = kinds[rng.integers(len(kinds))]
        depth = rng.uniform(2.0, 5.0) + width_m
        side = rng.uniform(-0.8, 0.8) * depth * np.tan(np.radians(view.fov_deg) / 2)
        point = np.array([view.x, view.y]) + depth * ahead + side * right
        found.append((depth, Sprite((point[0], point[1]), width_m, height_m, pixels)))
    return [sprite for _, sprite in sorted(found, key=lambda pair: -pair[0])]


def _by_hand(
    settings: QueryParams, kind: str, raw: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """A hand-held camera's exposure, colour cast, blur and noise."""
    spread = settings.gain
    exposure, cast = rng.uniform(1 - spread, 1 + spread), rng.uniform(-1, 1, 3) * spread / 3
    gamma = float(np.exp(rng.uniform(-spread, spread)))
    gains = exposure * (1 + cast) * {"day": 1.0, "dusk": 1.15, "night": 1.25}[kind]
    noise = settings.noise * (2.0 if kind == "night" else 1.0) * rng.uniform(0.4, 1.0)
    blur = rng.uniform(0, settings.blur_px)
    return sensor.expose(sensor.develop(raw, gains, gamma), blur, noise, rng)
