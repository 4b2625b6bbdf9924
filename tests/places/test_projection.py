"""Degrees to metres: distances on the plane are those on the ellipsoid."""

import numpy as np
import pytest
from pyproj import Geod, Proj

from vprlib.pipeline.params import UserError
from vprlib.places.projection import ZONE_M, on_one_plane, project

GEOD = Geod(ellps="WGS84")


def pairs_100_m(lat: float, lon: float, around: float = 0.2) -> tuple[np.ndarray, np.ndarray]:
    """Latitudes and longitudes of 300 images and of those 100 m away from them, end to end."""
    generator = np.random.default_rng(1)
    lats, lons = (at + generator.uniform(-around, around, 300) for at in (lat, lon))
    lats = lats.clip(-83.9, 83.9)
    lons = (lons + 180) % 360 - 180
    to_lons, to_lats, _ = GEOD.fwd(lons, lats, generator.uniform(0, 360, 300), np.full(300, 100.0))
    return np.concatenate([lats, to_lats]), np.concatenate([lons, to_lons])


PLACES = {
    "Berlin": (52.5, 13.3),
    "across a zone's border": (48.0, 12.0),
    "across it at the equator": (0.0, 6.0),
    "across the equator": (0.0, 37.0),
    "across Greenwich": (51.5, 0.0),
    "Sydney": (-33.9, 151.2),
    "at the date line": (-17.0, 180.0),
    "at the date line and the equator": (0.0, -180.0),
    "far north": (83.7, 10.0),
    "far south": (-83.7, -70.0),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_hundred_metres_are_right_to_a_thousandth(place: str) -> None:
    positions = project(*pairs_100_m(*PLACES[place]))
    apart = np.linalg.norm(positions[:300] - positions[300:], axis=1)
    np.testing.assert_allclose(apart, 100.0, rtol=1e-3)


def test_a_group_as_wide_as_five_degrees_at_the_equator_is_right_everywhere() -> None:
    positions = project(*pairs_100_m(0.0, 5.9, around=2.4))
    apart = np.linalg.norm(positions[:300] - positions[300:], axis=1)
    np.testing.assert_allclose(apart, 100.0, rtol=1e-3)


@pytest.mark.parametrize(("lat", "lon", "zone"), [(52.5, 13.3, 33), (40.4, -80, 17), (1, -180, 1)])
def test_metres_are_those_of_utm_after_the_zone(lat: float, lon: float, zone: int) -> None:
    easting, northing = Proj(proj="utm", zone=zone, ellps="WGS84")(lon, lat)
    found = project(np.array([lat]), np.array([lon]))
    np.testing.assert_allclose(found, [[zone * ZONE_M + easting, northing]], rtol=0, atol=1e-4)


def test_southern_northings_are_negative_and_continue_those_of_the_north() -> None:
    found = project(np.array([-1e-5, 1e-5, -33.9]), np.array([9.0, 9.0, 9.0]))
    assert found[1, 1] - found[0, 1] == pytest.approx(2.21, abs=0.01)
    south = Proj(proj="utm", zone=32, south=True, ellps="WGS84")(9.0, -33.9)[1]
    assert found[2, 1] == pytest.approx(south - 1e7, abs=1e-4)


def test_the_zone_is_that_of_the_median_however_far_others_are_past_its_border() -> None:
    lons = np.array([11.90, 11.95, 11.98, 12.03])
    found = project(np.full(4, 48.0), lons)
    assert (found[:, 0] // ZONE_M).tolist() == [32, 32, 32, 32]


def test_as_many_images_on_either_side_of_greenwich_are_one_group() -> None:
    found = project(np.array([51.5, 51.5]), np.array([-0.001, 0.001]))
    assert np.linalg.norm(found[0] - found[1]) == pytest.approx(138.9, rel=1e-3)


def test_places_far_apart_never_meet_though_their_eastings_would() -> None:
    lons = np.array([3.0, 9.0, -171.0, 177.0, 3.2])  # the middles of zones, and one beside
    found = project(np.full(5, 10.0), lons)
    apart = np.linalg.norm(found[:, None] - found, axis=2)
    assert (apart[~np.eye(5, dtype=bool)] > 20_000).all()
    assert (found[:, 0] // ZONE_M).tolist() == [31, 32, 2, 60, 31]
    assert np.allclose(apart[0, 4], GEOD.inv(3.0, 10.0, 3.2, 10.0)[2], rtol=1e-3)


def test_north_and_south_never_meet() -> None:
    found = project(np.array([50.0, -40.2]), np.array([9.0, 9.0]))
    assert np.linalg.norm(found[0] - found[1]) > 9e6


@pytest.mark.parametrize("width", [8, 60, 350, 360])
def test_a_group_too_wide_for_one_plane_is_refused(width: float) -> None:
    lons = (np.arange(0, width, 0.05) + 175.0) % 360 - 180
    with pytest.raises(UserError, match=r"\d+ images cover the longitudes .* without a gap"):
        project(np.zeros(len(lons)), lons)


def test_no_images_have_no_positions() -> None:
    assert project(np.zeros(0), np.zeros(0)).shape == (0, 2)


def test_utm_of_one_zone_stays_as_it_is() -> None:
    found = on_one_plane(
        np.array([5e5, 6e5]), np.array([1.0, 2.0]), np.array([33, 33]), np.array([False, False])
    )
    assert found.tolist() == [[33.5e6, 1.0], [33.6e6, 2.0]]


def test_utm_across_a_border_comes_onto_one_plane() -> None:
    lats, lons = pairs_100_m(-0.01, 12.0, 0.02)
    zones = np.where(lons < 12.0, 32, 33)
    is_south = lats < 0
    utm = np.empty((600, 2))
    for zone in (32, 33):
        for south in (False, True):
            rows = (zones == zone) & (is_south == south)
            plane = Proj(proj="utm", zone=zone, south=south, ellps="WGS84")
            utm[rows] = np.stack(plane(lons[rows], lats[rows]), axis=1)
    found = on_one_plane(utm[:, 0], utm[:, 1], zones, is_south)
    assert len(np.unique(zones)) == 2 and len(np.unique(is_south)) == 2
    np.testing.assert_allclose(np.linalg.norm(found[:300] - found[300:], axis=1), 100, rtol=1e-3)
    np.testing.assert_allclose(found, project(lats, lons), atol=1e-3)
