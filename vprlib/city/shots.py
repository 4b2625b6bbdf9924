"""The built-in city: plans which photographs are taken where, and takes them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vprlib.city import sensor
from vprlib.city.camera import View
from vprlib.city.light import LIGHTS, light
from vprlib.city.picture import picture
from vprlib.city.route import is_northward, place_position, spot_beside
from vprlib.city.scene import CityParams, PartParams, QueryParams
from vprlib.city.scenery import passers
from vprlib.city.sprites import Sprite
from vprlib.city.town import PITCH, Town
from vprlib.pipeline.params import UserError

ORIGINS = {  # UTM metres; 100 km apart, so that no part ever reaches another
    "train": (350_000.0, 4_470_000.0),
    "val": (450_000.0, 4_470_000.0),
    "test": (550_000.0, 4_470_000.0),
}
FOLDER_FILES = 1000  # at most so many pictures in one folder
CAMERA_M = 1.6  # height of every camera, a query's a little lower or higher
_PLACE, _SPOT, _QUERY, _LIGHT, _PARKED, _WEATHER, _SENSOR, _PASSERS = range(10, 18)  # seeds


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
        raise UserError(f"The city has the parts {', '.join(ORIGINS)}, but no '{part_name}'.")
    return Town(scene.seed, list(ORIGINS).index(part_name))


def _tile(scene: CityParams, part_name: str, place: int, position: np.ndarray, tile: int) -> Shot:
    number = place * scene.headings + tile
    name = f"{part_name}/{number // FOLDER_FILES:03d}/{part_name}_{place:06d}_h{tile:02d}.jpg"
    heading = 360.0 * tile / scene.headings
    lens = (scene.fov_deg, scene.tilt_deg, 0.0, CAMERA_M)
    return Shot(name, *_utm(part_name, position), heading, "day", *lens, place, tile)


def _location(
    scene: CityParams, part: PartParams, part_name: str, positions: list[np.ndarray], location: int
) -> Iterator[Shot]:
    """The queries of one spot: one panorama after the other gets a spot beside it."""
    town, settings = town_of(scene, part_name), scene.query
    rng = town.generator(_SPOT, location)
    place = location % len(positions)
    northward = is_northward(place, int(PITCH // scene.spacing_m))
    spot = spot_beside(rng, positions[place], northward, settings.offset_m)
    first = rng.uniform(0, 360)
    turns = first + np.arange(settings.per_location) * 360 / settings.per_location
    numbers = location * settings.per_location + np.arange(settings.per_location)
    weights = np.cumsum([getattr(part.query_light, kind) for kind in LIGHTS])
    utm, jitter = _utm(part_name, spot), settings.heading_jitter_deg
    for number, turn in zip(numbers.tolist(), turns.tolist(), strict=True):
        rng = town.generator(_QUERY, number)
        heading = (turn + rng.uniform(-jitter, jitter)) % 360
        fov, tilt = rng.uniform(*settings.fov_deg), rng.uniform(*settings.tilt_deg)
        roll, height = rng.uniform(-1, 1) * settings.roll_deg, CAMERA_M + rng.uniform(-0.1, 0.1)
        name = f"{part_name}/{number // FOLDER_FILES:03d}/{part_name}_q{number:06d}.jpg"
        share = town.generator(_LIGHT, number).random() * weights[-1]
        kind = LIGHTS[int(np.searchsorted(weights, share, side="right"))]
        yield Shot(name, *utm, heading, kind, fov, tilt, roll, height, number, -1)


def _utm(part_name: str, position: np.ndarray) -> tuple[float, float]:
    east, north = ORIGINS[part_name]
    return east + float(position[0]), north + float(position[1])


def draw(the_plan: Plan, shot: Shot) -> np.ndarray:
    """The photograph, [H, W, 3] uint8."""
    scene, is_query = the_plan.scene, shot.tile < 0
    town = town_of(scene, the_plan.part_name)
    east, north = ORIGINS[the_plan.part_name]
    position = (shot.easting - east, shot.northing - north, shot.height_m, shot.heading_deg)
    lens = (shot.fov_deg, shot.tilt_deg, shot.roll_deg)
    view = View(*position, *lens, scene.width, scene.height)
    weather = town.generator(_WEATHER, is_query, shot.place)
    # panoramas of a neighbourhood are taken on one drive, past the same parked cars
    drive = (shot.place,) if is_query else (round(view.x / PITCH), round(view.y / PITCH))
    parked = town.generator(_PARKED, is_query, *drive)
    now = light(shot.light, weather if is_query else town.generator(_LIGHT))
    in_the_way = _passers(scene, town, view, shot) if is_query else []
    raw = picture(town, view, now, (parked, weather), in_the_way)
    rng = town.generator(_SENSOR, is_query, shot.place, shot.tile + 1)
    if not is_query:
        return sensor.expose(sensor.develop(raw, np.ones(3), 1.0), 0.0, 1.5, rng)
    return _by_hand(scene.query, shot.light, raw, rng)


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
    gains = exposure * (1 + cast) * {"day": 1.0, "dusk": 1.08, "night": 1.2}[kind]
    noise = settings.noise * (2.0 if kind == "night" else 1.0) * rng.uniform(0.4, 1.0)
    blur = rng.uniform(0, settings.blur_px)
    return sensor.expose(sensor.develop(raw, gains, gamma), blur, noise, rng)
