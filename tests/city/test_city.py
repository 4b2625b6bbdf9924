"""The built-in city: same bytes in any order, right perspective, parts that share nothing."""

import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import astuple, replace
from io import BytesIO
from multiprocessing import get_context

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from vprlib.city.camera import LAYERS, View, project, rays, see
from vprlib.city.contact import contact_sheet
from vprlib.city.facade import LEVELS, facade
from vprlib.city.scene import CityParams, LightWeights, PartParams, QueryParams
from vprlib.city.sensor import jpeg
from vprlib.city.shots import (
    ORIGINS,
    Plan,
    Shot,
    draw,
    plan,
    town_of,
)
from vprlib.city.town import FRONT, PITCH, ROAD_HALF, block
from vprlib.pipeline.params import UserError

MIXED = LightWeights(day=0.6, dusk=0.25, night=0.15)
SCENE = CityParams()


def part(places: int = 110, queries: int = 440, light: LightWeights = MIXED) -> PartParams:
    return PartParams(places=places, queries=queries, query_light=light)


def file_bytes(the_plan: Plan, shot: Shot) -> bytes:
    return jpeg(draw(the_plan, shot), the_plan.scene.quality)


def some_shots(the_plan: Plan) -> list[Shot]:
    return the_plan.database[::11] + the_plan.queries[::3]


def positions(shots: list[Shot]) -> np.ndarray:
    return np.array([(shot.easting, shot.northing) for shot in shots])


def distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.hypot(*(a[:, None] - b[None]).transpose(2, 0, 1))


def test_same_parameters_give_the_same_bytes_in_any_order_and_process() -> None:
    first, second = (plan(SCENE, part(6, 12), "test") for _ in range(2))
    shots = some_shots(first)
    assert shots == some_shots(second)
    forwards = [file_bytes(first, shot) for shot in shots]
    backwards = [file_bytes(second, shot) for shot in reversed(shots)]
    assert forwards == backwards[::-1]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        assert list(pool.map(file_bytes, [first] * len(shots), shots)) == forwards


def test_a_full_atlas_changes_no_byte() -> None:
    the_plan = plan(SCENE, part(200, 1), "val")
    before = file_bytes(the_plan, the_plan.database[0])
    for shot in the_plan.database[8::40]:
        draw(the_plan, shot)
    assert file_bytes(the_plan, the_plan.database[0]) == before


def test_another_seed_gives_another_city() -> None:
    shots = plan(SCENE, part(), "test").database
    others = plan(SCENE.model_copy(update={"seed": 8}), part(), "test").database
    assert all(a.easting != b.easting for a, b in zip(shots, others, strict=True))
    assert town_of(SCENE, "test") != town_of(CityParams(seed=8), "test")


def test_query_light_changes_the_light_of_queries_and_nothing_else() -> None:
    mixed = plan(SCENE, part(6, 40), "test")
    night = plan(SCENE, part(6, 40, LightWeights(day=0, dusk=0, night=3)), "test")
    assert mixed.database == night.database
    assert [replace(shot, light="night") for shot in mixed.queries] == night.queries
    assert {shot.light for shot in mixed.queries} == {"day", "dusk", "night"}
    for a, b in zip(mixed.queries[:12], night.queries[:12], strict=True):
        assert (file_bytes(mixed, a) == file_bytes(night, b)) == (a.light == "night")


def test_no_query_parameter_changes_a_database_byte() -> None:
    harder = QueryParams(offset_m=(3.0, 9.0), passers=5.0, noise=20.0, gain=0.5, per_location=2)
    easy = plan(SCENE, part(4, 8), "train")
    hard = plan(SCENE.model_copy(update={"query": harder}), part(4, 16), "train")
    assert easy.database == hard.database
    for shot in easy.database[::7]:
        assert file_bytes(easy, shot) == file_bytes(hard, shot)


def test_more_queries_or_places_keep_the_first_ones() -> None:
    small, large = plan(SCENE, part(50, 30), "test"), plan(SCENE, part(80, 75), "test")
    assert large.queries[:30] == small.queries
    assert large.database[: len(small.database)] == small.database


def test_parts_share_no_building_and_lie_far_apart() -> None:
    fronts, corners = set(), []
    for name in ORIGINS:
        here = block(town_of(SCENE, name), 0, 0)
        fronts |= {facade(key, 10.0, 10.0).tobytes() for key in here.keys}
        corners.append((len(here.keys), positions(plan(SCENE, part(), name).database)))
    assert len(fronts) == sum(count for count, _ in corners)
    for i, (_, a) in enumerate(corners):
        for _, b in corners[:i]:
            assert distances(a[::8], b[::8]).min() > 200


def test_a_panorama_is_one_position_with_headings_all_around() -> None:
    tiles = plan(SCENE, part(3, 1), "train").database[8:16]
    assert len({(shot.easting, shot.northing, shot.place) for shot in tiles}) == 1
    assert [shot.heading_deg for shot in tiles] == [0, 45, 90, 135, 180, 225, 270, 315]


def test_every_query_has_a_panorama_within_10_m_and_farther_than_1_m() -> None:
    for spacing_m in (5.0, 9.0, 30.0):
        scene = CityParams(spacing_m=spacing_m, query=QueryParams(offset_m=(1.2, 10.0)))
        the_plan = plan(scene, part(), "test")
        apart = distances(positions(the_plan.queries), positions(the_plan.database[::8]))
        assert ((apart <= 10) & (apart > 1)).any(1).all()


def test_the_defaults_query_at_least_100_places() -> None:
    spots = positions(plan(SCENE, part(), "test").queries)
    is_near = distances(spots, spots) < 1
    first_of_its_kind = is_near.argmax(1) == np.arange(len(spots))
    assert first_of_its_kind.sum() >= 100


def test_query_headings_are_not_those_of_the_tiles() -> None:
    headings = np.array([shot.heading_deg for shot in plan(SCENE, part(), "test").queries])
    off = np.abs((headings + 22.5) % 45 - 22.5)
    assert off.min() < 3 and off.max() > 19 and 9 < off.mean() < 13.5


def test_no_camera_stands_in_a_house_or_among_parked_cars() -> None:
    the_plan = plan(SCENE, part(300, 1200), "test")
    for shot in the_plan.database[::8] + the_plan.queries:
        town = np.array([shot.easting, shot.northing]) - ORIGINS["test"]
        off = np.sort(np.abs((town + PITCH / 2) % PITCH - PITCH / 2))  # from the nearest streets
        assert off[0] < FRONT
        assert off[0] < ROAD_HALF - 1.8 or off[0] > ROAD_HALF or off[1] < 11


def test_positions_are_utm_metres_with_six_and_seven_digits() -> None:
    for name in ORIGINS:
        spots = positions(plan(SCENE, part(), name).queries)
        assert spots.dtype == np.float64
        assert ((spots >= [1e5, 1e6]) & (spots < [1e6, 1e7])).all()
        assert (spots % 1 > 0).all()


def test_names_are_relative_and_no_folder_holds_more_than_1000() -> None:
    the_plan = plan(SCENE, part(300, 2500), "test")
    assert the_plan.database[99].name == "test/000/test_000012_h03.jpg"
    assert the_plan.queries[1012].name == "test/001/test_q001012.jpg"
    for shots in (the_plan.database, the_plan.queries):
        names = [shot.name for shot in shots]
        assert len(set(names)) == len(names)
        folders = [name.rpartition("/")[0] for name in names]
        assert max(folders.count(folder) for folder in set(folders)) <= 1000


def test_planning_100_000_images_is_quick_and_holds_no_image() -> None:
    start = time.process_time()  # whatever else the machine does
    the_plan = plan(SCENE, part(10_000, 20_000), "train")
    assert time.process_time() - start < 10
    assert len(the_plan.database) + len(the_plan.queries) == 100_000
    kinds = {type(value) for shot in the_plan.queries[::99] for value in astuple(shot)}
    assert kinds <= {str, float, int}


def test_a_jpeg_has_the_size_that_the_parameters_say() -> None:
    the_plan = plan(CityParams(width=96, height=64), part(1, 1), "val")
    for shot in the_plan.database[:1] + the_plan.queries:
        with Image.open(BytesIO(file_bytes(the_plan, shot))) as image:
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (96, 64))


HOUSE = np.array([[3.0, 10.0, 8.0, 20.0, 7.6]])  # 10 m ahead, 3 m to the right, 7.6 m high


def test_a_wall_corner_stands_where_the_pinhole_formula_puts_it() -> None:
    """f = 80: the near corner is at 80 + 80 · 3/10 = 104, its foot at 60 + 80 · 1.6/10 = 72.8,
    its top at 60 - 80 · 6/10 = 12; the west wall ends at 80 + 80 · 3/20 = 92. Two rays a pixel."""
    view = View(0, 0, 1.6, 0, 90, 0, 0, 160, 120)
    sight = see(view, rays(view), HOUSE)
    assert np.flatnonzero((sight.layer == 1).any(0))[0] == 2 * 92
    wall = np.flatnonzero(sight.layer[:, 209] == 1)
    assert (wall[0], wall[-1]) == (2 * 12, 145)
    assert (sight.layer[:24, 209] == LAYERS + 1).all() and (sight.layer[146:, 209] == 0).all()
    east, north = sight.hits.outward[:, 0][:, sight.rays.column[120]]
    assert (east[184:208] == -1).all() and (north[208:] == -1).all()


def test_projecting_is_the_inverse_of_the_rays_under_tilt_and_roll() -> None:
    view = View(5, -3, 1.6, 37, 70, 9, -6, 40, 30)
    seen, (ahead, right) = rays(view), view.axes
    for row, column in ((0, 0), (13, 60), (59, 79)):
        level = 7 * (ahead + seen.side[seen.column[row, column]] * right) + (view.x, view.y)
        point = np.array([[*level, view.height_m + 7 * seen.slope[row, column]]])
        x, y, _ = project(view, point)
        assert x[0] == pytest.approx((column + 0.5) / 2, abs=0.3)
        assert y[0] == pytest.approx((row + 0.5) / 2, abs=0.3)


@pytest.mark.parametrize(("tilt_deg", "roll_deg"), [(0, 0), (8, 5), (-5, -10)])
def test_every_pixel_agrees_with_a_ray_traced_on_its_own(tilt_deg: float, roll_deg: float) -> None:
    houses = np.concatenate(
        [block(town_of(SCENE, "test"), i, j).boxes for i in (-1, 0) for j in (-1, 0, 1)]
    )
    view = View(0.5, 20.0, 1.6, 25, 75, tilt_deg, roll_deg, 24, 18)
    sight = see(view, rays(view), houses)
    fast = np.where(sight.layer == 0, -1, sight.hits.box.ravel()[sight.index])
    fast = np.where(sight.layer == LAYERS + 1, -2, fast)
    slow = np.array([[traced(view, houses, r, c) for c in range(48)] for r in range(36)])
    assert (fast == slow).mean() > 0.95
    padded = np.pad(slow, 1, mode="edge")  # an edge may lie half a ray farther on
    beside = [padded[r : r + 36, c : c + 48] for r in range(3) for c in range(3)]
    assert (fast == np.stack(beside)).any(0).mean() > 0.995
    assert len(np.unique(slow)) > 8 and (slow == -1).any() and (slow == -2).any()


def traced(view: View, houses: np.ndarray, row: int, column: int) -> int:
    """The house that one ray meets first; -1 ground, -2 sky."""
    roll, tilt, heading = np.radians([view.roll_deg, view.tilt_deg, view.heading_deg])
    x = ((column + 0.5) / 2 - view.width / 2) / view.focal
    y = (view.height / 2 - (row + 0.5) / 2) / view.focal
    right, up = x * np.cos(roll) + y * np.sin(roll), y * np.cos(roll) - x * np.sin(roll)
    up, ahead = up * np.cos(tilt) + np.sin(tilt), np.cos(tilt) - up * np.sin(tilt)
    east = ahead * np.sin(heading) + right * np.cos(heading)
    north = ahead * np.cos(heading) - right * np.sin(heading)
    best, found = (view.height_m / -up, -1) if up < 0 else (np.inf, -2)
    for k, (west, south, far_east, far_north, top) in enumerate(houses):
        low = (np.array([west, south, 0]) - (view.x, view.y, view.height_m)) / (east, north, up)
        high = (np.array([far_east, far_north, top]) - (view.x, view.y, view.height_m)) / (
            east,
            north,
            up,
        )
        enter, leave = np.minimum(low, high).max(), np.maximum(low, high).min()
        if 0 < enter < leave and enter < best - 1e-9:
            best, found = enter, k
    return found


def test_a_facade_is_a_whole_number_of_its_coarsest_texels() -> None:
    for width_m, height_m in ((4.1, 6.9), (18.3, 20.0)):
        texture = facade((1, 2, 3), width_m, height_m)
        assert texture.dtype == np.uint8 and texture.shape[2] == 4
        assert texture.shape[0] % 2 ** (LEVELS - 1) == texture.shape[1] % 2 ** (LEVELS - 1) == 0


def test_every_facade_can_be_painted() -> None:
    looks = {facade((0, k), 6.0 + k % 12, 7.0 + k % 13).tobytes() for k in range(300)}
    assert len(looks) == 300


def test_night_is_darker_than_dusk_and_dusk_than_day() -> None:
    the_plan = plan(SCENE, part(4, 16), "test")
    day, dusk, night = (
        np.mean([draw(the_plan, replace(shot, light=light)) for shot in the_plan.queries])
        for light in ("day", "dusk", "night")
    )
    assert day > 1.05 * dusk and dusk > 1.1 * night and night > 20


def test_a_contact_sheet_shows_two_lines_a_place() -> None:
    sheet = contact_sheet(plan(CityParams(width=32, height=24), part(5, 20), "val"), 2)
    assert sheet.shape == (4 * (24 + 3) + 3, 8 * (32 + 3) + 3, 3)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: part(light=LightWeights(day=0, dusk=0, night=0)), "at least one of day, dusk"),
        (lambda: part(places=0), "greater than or equal to 1"),
        (lambda: QueryParams(offset_m=(0.5, 4.0)), "offset_m should be two distances over 1"),
        (lambda: QueryParams(offset_m=(2.0, 12.0)), "up to 10, but is 2.0 and 12.0"),
        (lambda: QueryParams(fov_deg=(80.0, 60.0)), "fov_deg should run upwards"),
        (lambda: QueryParams(tilt_deg=(0.0, 50.0)), "tilt_deg should lie within -20 and 20"),
        (lambda: CityParams(headings=0), "greater than or equal to 1"),
    ],
)
def test_bad_params_give_sentences(make, sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        make()


def test_an_unknown_part_is_named() -> None:
    with pytest.raises(UserError, match="has the parts train, val, test, but no 'tset'"):
        plan(SCENE, part(), "tset")
