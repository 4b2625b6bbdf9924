"""Failures on a map: metres become degrees where a zone is known, and the file is GeoJSON."""

import json

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from vprlib.evaluate.failures import geojson
from vprlib.places.projection import Zone, project, to_degrees


def test_pittsburgh_lies_in_pittsburgh():
    longitude, latitude = to_degrees(np.array([[584825.96, 4476945.61]]), "17N")[0]
    assert (longitude, latitude) == (pytest.approx(-80.0, abs=0.01), pytest.approx(40.44, abs=0.01))


def test_the_southern_hemisphere_is_south():
    here = np.array([[334000.0, 6252000.0]])  # Sydney
    assert to_degrees(here, "56S")[0] == pytest.approx([151.2, -33.86], abs=0.02)


@pytest.mark.parametrize("where", [(52.5, 13.4), (-33.9, 151.2), (35.7, 139.7), (0.1, -77.9)])
def test_degrees_that_were_projected_come_back(where):
    generator = np.random.default_rng(1)
    degrees = np.array(where) + generator.uniform(-0.05, 0.05, (20, 2))
    metres = project(degrees[:, 0], degrees[:, 1])
    assert to_degrees(metres, None) == pytest.approx(degrees[:, ::-1], abs=1e-7)


@pytest.mark.parametrize("easting", [584825.0, 12.0, 63_500_000.0, np.nan])
def test_metres_without_a_zone_are_not_known(easting):
    assert to_degrees(np.array([[easting, 5_000_000.0]]), None) is None


def test_unknown_positions_stay_unknown():
    both = np.array([[584825.0, 4476945.0], [np.nan, np.nan]])
    assert np.isnan(to_degrees(both, "17N")).tolist() == [[False, False], [True, True]]


@pytest.mark.parametrize("zone", ["61N", "0N", "17", "17n", "N17", 17])
def test_a_zone_is_a_number_and_a_hemisphere(zone):
    with pytest.raises(ValidationError):
        TypeAdapter(Zone).validate_python(zone)
    for good in ("1N", "9S", "10N", "60S", None):
        TypeAdapter(Zone).validate_python(good)


def test_the_file_has_a_point_a_query_and_a_line_from_each_wrong_one():
    at = np.array([[13.1, 52.1], [13.2, 52.2], [np.nan, np.nan]])
    answers = at[[0, 0, 0]] + 0.5
    told = [{"category": name} for name in ("correct", "far", "far")]
    found = geojson(["a", "b", "c"], told, at, answers, np.array([False, True, True]))
    assert found["type"] == "FeatureCollection"
    kinds = [(f["geometry"] or {"type": None})["type"] for f in found["features"]]
    assert kinds == ["Point", "Point", "LineString", None]
    assert found["features"][2]["geometry"]["coordinates"] == [[13.2, 52.2], [13.6, 52.6]]
    assert found["features"][1]["properties"] == {"query": "b", "category": "far"}
    json.dumps(found, allow_nan=False)
